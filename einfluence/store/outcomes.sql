-- grain: one row per probe trained (base, estimator, recipe, probe, seed, engine version)
-- Trainings of sets stand apart, in the view of that name.
create or replace view outcomes as
with

outcomes as (
    select * from outcomes_once
),

final as (
    select *
    from outcomes
    where estimator <> 'training'
)

select * from final
