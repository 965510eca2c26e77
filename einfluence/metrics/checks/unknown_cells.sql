-- One row an arm with cells whose probe or query is in no table of samples: they are left out.
with runs as (
    select * from stg_runs
),

duplicates as (
    select
        run,
        sum(case when lowest = highest then copies - 1 else copies end) as surplus
    from stg_duplicates
    group by run
),

cells as (
    select
        run,
        count(*) as n_cells
    from stg_cells
    group by run
),

joined as (
    select
        runs.arm,
        runs.n_finite - coalesce(cells.n_cells, 0) - coalesce(duplicates.surplus, 0) as n_unknown
    from runs
    left join cells using (run)
    left join duplicates using (run)
)

select
    arm,
    'cells of unknown samples' as variant,
    sum(n_unknown) as amount,
    'their probe or query is not among the samples; left out' as note
from joined
group by arm
having sum(n_unknown) > 0
