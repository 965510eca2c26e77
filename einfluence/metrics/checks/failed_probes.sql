-- One row an arm with probes that failed in training.
with outcomes as (
    select
        estimator,
        base,
        recipe,
        probe_id,
        seed,
        any_value(reason) as reason
    from outcomes
    where status <> 'done'
    group by all
),

arms as (
    select distinct
        estimator,
        base,
        recipe,
        arm
    from stg_runs
)

select
    arms.arm,
    'failed probes' as variant,
    count(*) as amount,
    'e.g. ' || coalesce(min(outcomes.reason), 'for no stated reason') as note
from outcomes
inner join arms using (estimator, base, recipe)
group by arms.arm
