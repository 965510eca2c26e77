-- One row a (run, probe, kind of relation, `all` for every query but itself): what became of the model's decisions.
with cells as (
    select
        run,
        probe,
        kind,
        log_odds,
        first_before,
        first_after
    from mart_cells
    where first_after is not null
),

grouped as (
    select *
    from cells
    where kind is not null
    union all
    select * replace ('all' as kind)
    from cells
    where kind is distinct from 'self'
)

select
    run,
    probe,
    kind,
    median(log_odds) filter (where isfinite(log_odds)) as log_odds,
    avg(cast(first_after as double)) filter (where not first_before) as gained,
    avg(cast(not first_after as double)) filter (where first_before) as lost
from grouped
group by run, probe, kind
