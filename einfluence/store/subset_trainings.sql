-- grain: one row per arm of random subsets (base, estimator, recipe, seed) and training that it regresses on
-- Arms share trainings. Where arms of one set draw different shares, an arm's are those of its own size.
create or replace view subset_trainings as
with

recipes as (
    select * from recipes
),

influence as (
    select * from influence
),

trainings as (
    select * from trainings
),

training_sets as (
    select * from training_sets
),

weights as (
    select * from training_weights
),

arms as (
    select
        estimator,
        recipe,
        training_set,
        trainings,
        cast(json_extract_string(json, '$.count') as integer) as n_subsets,
        cast(json_extract_string(json, '$.share') as double) as share
    from recipes
    where estimator = 'subsets' and training_set is not null
),

shares as (
    select
        training_set,
        trainings,
        count(distinct share) as n_shares
    from arms
    group by training_set, trainings
),

runs as (
    select distinct
        influence.base,
        arms.estimator,
        arms.recipe,
        influence.seed,
        arms.training_set,
        arms.trainings,
        arms.n_subsets,
        arms.share,
        shares.n_shares
    from influence
    inner join arms using (estimator, recipe)
    inner join shares using (training_set, trainings)
),

left_out as (
    select
        training,
        count(*) as n_left_out
    from weights
    where weight = 0
    group by training
),

subsets as (
    select
        trainings.base,
        trainings.recipe as trainings,
        trainings.seed,
        trainings.training_set,
        trainings.training,
        cast(trainings.about as integer) as number,
        training_sets.samples - coalesce(left_out.n_left_out, 0) as n_kept,
        training_sets.samples as n_samples
    from trainings
    inner join training_sets using (training_set)
    left join left_out using (training)
    where trainings.kind = 'subset' and trainings.status = 'done'
),

final as (
    select
        runs.base,
        runs.estimator,
        runs.recipe,
        runs.seed,
        runs.training_set,
        runs.trainings,
        subsets.training
    from runs
    inner join subsets using (base, trainings, seed, training_set)
    where
        subsets.number < runs.n_subsets
        and (
            runs.n_shares = 1
            or abs(subsets.n_kept - least(greatest(runs.share * subsets.n_samples, 1), subsets.n_samples - 1)) <= 0.5
        )
)

select distinct * from final
