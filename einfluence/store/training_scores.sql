-- grain: one row per training of a set and query (base, recipe, seed, training, query, engine version)
with

cells as (
    select * from training_influence
),

final as (
    select
        base,
        recipe,
        seed,
        probe_id as training,
        query_id,
        logprob_after as logprob,
        logprob_before as logprob_base,
        n_tokens,
        rank_after as rank,
        engine_version
    from cells
)

select * from final
