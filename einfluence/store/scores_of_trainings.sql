-- grain: one row per training and query, of the trainings that are named
with

scores as (
    select * from training_scores
),

final as (
    select
        training,
        query_id,
        logprob,
        n_tokens,
        rank
    from scores
    where
        base = $base
        and recipe = $recipe
        and seed = $seed
        and engine_version = $engine_version
        and training in (select unnest($trainings))
)

select * from final
