-- grain: one row an arm: how its probes fared in training
with
outcomes as (select * from outcomes)

select
    base,
    estimator,
    recipe,
    count(*) filter (where status <> 'done') as failed,
    sum(seconds) as seconds
from outcomes
group by base, estimator, recipe
order by base, estimator, recipe
