-- One row an arm with wanted pairs of its probes that have no cell.
with runs as (
    select * from stg_runs
),

wanted as (
    select
        probe,
        count(*) as n_wanted
    from stg_relations
    group by probe
),

measured as (
    select * from mart_probes
)

select
    runs.arm,
    'missing cells' as variant,
    sum(wanted.n_wanted - measured.n_cells) as amount,
    'wanted pairs of measured probes that have no finite cell' as note
from measured
inner join wanted using (probe)
inner join runs using (run)
group by runs.arm
having sum(wanted.n_wanted - measured.n_cells) > 0
