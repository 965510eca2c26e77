-- One row an arm with relations that stand more than once: copies that disagree claim nothing.
with duplicates as (
    select * from stg_duplicated_relations
),

measured as (
    select distinct
        runs.arm,
        measured.probe
    from mart_probes as measured
    inner join stg_runs as runs using (run)
)

select
    measured.arm,
    'duplicated relations' as variant,
    count(*) as amount,
    'copies that agree count once; ' || count(*) filter (where duplicates.disagree)
    || ' disagree and claim nothing' as note
from duplicates
inner join measured using (probe)
group by measured.arm
