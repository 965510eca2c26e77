-- grain: one row per unlearning (base, recipe, seed, training set, method, forget set) and query: what the unlearned
-- model says beside the one trained on all and the one trained without the forget set.
-- An unlearning or a retraining that failed has no rows.
create or replace view unlearning as
with

actions as (
    select * from actions
    where kind = 'unlearn'
),

full_trainings as (
    select
        base,
        recipe,
        seed,
        training_set,
        training as full_training
    from trainings
    where kind = 'full'
),

scores as (
    select * from training_scores
    where step is null and isfinite(logprob)
),

members as (
    select * from training_set_members
),

weights as (
    select * from training_weights
    where weight = 0
),

trained_on as (
    select * from trained_on
),

unlearnings as (
    select distinct
        base,
        recipe,
        seed,
        training_set,
        method,
        about,
        chosen_by,
        cost,
        training,
        reference
    from actions
),

retrainings as (
    select distinct
        training_set,
        reference
    from unlearnings
),

forgotten as (
    select
        retrainings.reference,
        retrainings.training_set,
        members.sample_id
    from retrainings
    inner join weights on retrainings.reference = weights.training
    inner join members on retrainings.training_set = members.training_set and weights.position = members.position
),

placed as (
    select
        unlearnings.*,
        full_trainings.full_training,
        unlearned.query_id,
        unlearned.engine_version,
        unlearned.logprob,
        unlearned.rank,
        case
            when forgotten.sample_id is not null then 'forget'
            when trained_on.stage = 1 then 'rest'
            when trained_on.stage = 2 then 'second stage'
            else 'held out'
        end as place
    from unlearnings
    inner join full_trainings using (base, recipe, seed, training_set)
    inner join scores as unlearned using (base, recipe, seed, training)
    left join forgotten
        on
            unlearnings.reference = forgotten.reference
            and unlearnings.training_set = forgotten.training_set
            and unlearned.query_id = forgotten.sample_id
    left join trained_on
        on unlearnings.training_set = trained_on.training_set and unlearned.query_id = trained_on.sample_id
),

final as (
    select
        placed.base,
        placed.recipe,
        placed.seed,
        placed.training_set,
        placed.method,
        placed.about,
        placed.chosen_by,
        placed.cost,
        placed.training,
        placed.reference,
        placed.query_id,
        placed.place,
        placed.logprob,
        whole.logprob as logprob_full,
        retrained.logprob as logprob_retrained,
        placed.rank,
        whole.rank as rank_full,
        retrained.rank as rank_retrained
    from placed
    inner join scores as whole
        on
            placed.base = whole.base
            and placed.recipe = whole.recipe
            and placed.seed = whole.seed
            and placed.full_training = whole.training
            and placed.query_id = whole.query_id
            and placed.engine_version = whole.engine_version
    inner join scores as retrained
        on
            placed.base = retrained.base
            and placed.recipe = retrained.recipe
            and placed.seed = retrained.seed
            and placed.reference = retrained.training
            and placed.query_id = retrained.query_id
            and placed.engine_version = retrained.engine_version
)

select * from final
