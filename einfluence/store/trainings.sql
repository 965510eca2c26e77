-- grain: one row per training of a set that was done (base, recipe, seed, training, engine version)
create or replace view trainings as
with

outcomes as (
    select * from outcomes_once
),

definitions as (
    select * from trainings_defined
),

final as (
    select
        outcomes.base,
        outcomes.recipe,
        outcomes.seed,
        outcomes.probe_id as training,
        definitions.training_set,
        definitions.kind,
        definitions.about,
        outcomes.status,
        outcomes.reason,
        outcomes.losses,
        outcomes.grad_norm,
        outcomes.update_norm,
        outcomes.noise_rms,
        outcomes.engine,
        outcomes.fallback,
        outcomes.seconds,
        outcomes.engine_version
    from outcomes
    left join definitions on outcomes.probe_id = definitions.training
    where outcomes.estimator = 'training'
)

select * from final
