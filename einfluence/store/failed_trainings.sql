-- grain: one row per training that failed, of the trainings that are named
with

trained as (
    select * from trainings
),

final as (
    select
        training,
        reason
    from trained
    where
        base = $base
        and recipe = $recipe
        and seed = $seed
        and engine_version = $engine_version
        and status = 'failed'
        and training in (select unnest($trainings))
)

select * from final
