-- One row a (run, probe, fifth of the queries by distance, 1 = nearest): mean size of influence in it.
with ranks as (
    select * from mart_ranks
    where distance_rank is not null
)

select
    run,
    probe,
    cast(least(floor((distance_rank - 0.5) * 5 / n_counting) + 1, 5) as integer) as bin,
    avg(size) as size
from ranks
group by all
