-- One row a (run, probe): rank correlation of the size of its influence with distance.
with ranks as (
    select * from mart_ranks
),

summed as (
    select
        run,
        probe,
        count(*) as n,
        stddev_pop(distance_rank) as distance_spread,
        stddev_pop(size_rank) as size_spread,
        corr(size_rank, distance_rank) as correlation
    from ranks
    group by run, probe
)

select
    run,
    probe,
    n,
    case when distance_spread > 0 and size_spread > 0 then correlation end as correlation
from summed
