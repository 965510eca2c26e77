-- grain: one row an arm: how its probes fared in training
with
outcomes as (select * from outcomes)

select
    base,
    estimator,
    recipe,
    count(*) as trained,
    count(*) filter (where status <> 'done') as failed,
    sum(seconds) as seconds,
    avg(update_norm) as update_norm,
    avg(losses[1]) as first_loss,
    avg(losses[-1]) as last_loss,
    max(noise_rms) as noise_rms
from outcomes
group by base, estimator, recipe
order by base, estimator, recipe
