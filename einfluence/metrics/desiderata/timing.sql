-- One row a (run of data values of one fifth, probe): which part of what the probe did along its training was done in
-- that fifth of the steps? Where the values of all five are there, of the same queries.
with runs as (
    select * from stg_runs
),

cells as (
    select * from stg_cells
),

fifths as (
    select
        runs.run,
        runs.base,
        runs.seed,
        runs.stands_for,
        coalesce(json_extract_string(recipes.json, '$.dtype'), '') as dtype,
        cast(json_extract_string(recipes.json, '$.fifth') as integer) as fifth
    from runs
    inner join recipes using (estimator, recipe)
    where runs.estimator = 'data_value' and json_extract_string(recipes.json, '$.fifth') is not null
),

sizes as (
    select
        fifths.*,
        cells.probe,
        count(*) as n_queries,
        sum(abs(cells.influence)) as size
    from fifths
    inner join cells using (run)
    group by all
),

wholes as (
    select
        base,
        seed,
        stands_for,
        dtype,
        probe,
        sum(size) as size
    from sizes
    group by base, seed, stands_for, dtype, probe
    having count(distinct fifth) = 5 and min(n_queries) = max(n_queries)
)

select
    sizes.run,
    sizes.probe,
    'share' as variant,
    'share' as formula,
    sizes.fifth as level,
    'neither' as better,
    sizes.size as value,
    wholes.size as weight,
    0.2 as null_value,
    cast(null as double) as ideal,
    'quotient' as summary
from sizes
inner join wholes using (base, seed, stands_for, dtype, probe)
