-- One row a (run, probe of a sample): what the other seeds of the arm predict of its row, on average. Every pair of
-- seeds counts for both of its runs, so that averaging over runs averages over pairs.
create or replace temp table mart_ceilings as
with seeds as (
    select * from mart_seeds
),

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
    avg(correlation) as ceiling
from either
group by run, probe
