-- One row an arm with cells that stand more than once: equal copies count once, copies that disagree are left out.
with duplicates as (
    select * from stg_duplicates
),

runs as (
    select * from stg_runs
)

select
    runs.arm,
    'duplicated cells' as variant,
    count(*) as amount,
    'copies that agree count once; ' || count(*) filter (where duplicates.lowest <> duplicates.highest)
    || ' disagree and are left out' as note
from duplicates
inner join runs using (run)
group by runs.arm
