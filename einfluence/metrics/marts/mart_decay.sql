-- One row a (run, probe): rank correlation of size with distance, and the sum that the Gini coefficient needs.
with ranks as (
    select * from mart_ranks
),

summed as (
    select
        run,
        probe,
        sum(place * size) as placed_sum,
        stddev_pop(distance_rank) as distance_spread,
        stddev_pop(size_rank) as size_spread,
        corr(size_rank, distance_rank) as correlation
    from ranks
    group by run, probe
)

select
    run,
    probe,
    placed_sum,
    case when distance_spread > 0 and size_spread > 0 then correlation end as correlation
from summed
