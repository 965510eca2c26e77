-- grain: one row per training of a set and query (base, recipe, seed, training, query, engine version)
create or replace view training_scores as
with

cells as (
    select * from training_influence
),

definitions as (
    select * from trainings_defined
),

final as (
    select
        cells.base,
        cells.recipe,
        cells.seed,
        cells.probe_id as training,
        if(definitions.kind = 'watched', cast(definitions.about as integer), null) as step,
        cells.query_id,
        cells.logprob_after as logprob,
        cells.logprob_before as logprob_base,
        cells.n_tokens,
        cells.rank_after as rank,
        cells.engine_version
    from cells
    left join definitions on cells.probe_id = definitions.training
)

select * from final
