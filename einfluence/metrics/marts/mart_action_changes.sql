-- One row a (training that an action made, training that it is compared with, held-out query): the query's
-- log-probability after the one less that after the other. Of removals and of learned weights.
create or replace temp table mart_action_changes as
with held_out as (
    select * from mart_held_out
),

scores as (
    select * from training_scores
    where step is null and isfinite(logprob)
),

pairs as (
    select distinct
        base,
        recipe as trainings,
        seed,
        training_set,
        training,
        reference
    from actions
    where kind in ('remove', 'ignore')
)

select
    pairs.base,
    pairs.trainings,
    pairs.seed,
    pairs.training_set,
    pairs.training,
    pairs.reference,
    held_out.query,
    held_out.query_id,
    held_out.judges,
    made.logprob - kept.logprob as change
from pairs
inner join scores as made
    on
        pairs.base = made.base
        and pairs.trainings = made.recipe
        and pairs.seed = made.seed
        and pairs.training = made.training
inner join scores as kept
    on
        pairs.base = kept.base
        and pairs.trainings = kept.recipe
        and pairs.seed = kept.seed
        and pairs.reference = kept.training
        and made.query_id = kept.query_id
        and made.engine_version = kept.engine_version
inner join held_out on pairs.training_set = held_out.training_set and made.query_id = held_out.query_id
