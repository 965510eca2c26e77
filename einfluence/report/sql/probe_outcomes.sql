-- grain: one row a probe trained in one arm of $base: its first seed's losses, and whether it failed
with
outcomes as (select * from outcomes),

report_chosen as (select * from report_chosen)

select
    outcomes.estimator,
    outcomes.recipe,
    outcomes.probe_id,
    arg_min(outcomes.losses, outcomes.seed) as losses,
    arg_min(outcomes.grad_norm, outcomes.seed) as grad_norm,
    arg_min(outcomes.update_norm, outcomes.seed) as update_norm,
    max(outcomes.reason) filter (where outcomes.status <> 'done') as reason
from outcomes
inner join report_chosen on outcomes.probe_id = report_chosen.probe_id
where outcomes.base = $base
group by outcomes.estimator, outcomes.recipe, outcomes.probe_id
order by outcomes.estimator, outcomes.recipe, outcomes.probe_id
