-- grain: one row per training of a set that was done (base, recipe, seed, training, engine version)
-- One that failed and was done by a later run has both rows on the disk: what succeeded outweighs the failure.
with

written as (
    select * from training_outcomes
),

definitions as (
    select * from trainings_defined
),

outcomes as (
    select *
    from written
    qualify
        row_number() over (
            partition by base, recipe, probe_id, seed, engine_version
            order by status, reason
        ) = 1
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
)

select * from final
