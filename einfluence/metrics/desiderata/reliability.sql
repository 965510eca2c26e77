-- One row a (run, probe): do other training seeds give the same row? No desideratum can be surer than this.
with seeds as (
    select * from mart_seeds
),

-- Every pair of seeds counts for both its runs, so that averaging over runs averages over pairs.
either as (
    select
        run,
        probe,
        correlation
    from seeds
    union all
    select
        other_run as run,
        probe,
        correlation
    from seeds
)

select
    run,
    probe,
    'spearman across seeds' as variant,
    'spearman' as formula,
    'neither' as better,
    avg(correlation) as value,
    0.0 as null_value,
    1.0 as ideal,
    'mean' as summary
from either
group by run, probe
