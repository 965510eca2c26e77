-- One row a (run, probe, fifth of the queries by distance, 1 = nearest): mean size of influence in it.
with ranks as (
    select
        run,
        probe,
        size,
        distance_rank,
        count(*) over (partition by run, probe) as n
    from mart_ranks
)

select
    run,
    probe,
    cast(least(floor((distance_rank - 0.5) * 5 / n) + 1, 5) as integer) as bin,
    avg(size) as size
from ranks
group by all
