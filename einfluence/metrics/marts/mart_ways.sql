-- One row a way of training on a set at one seed, with the run that is shown what is known of the trainings themselves:
-- of the arms that are about them an intervention before an estimate.
create or replace temp table mart_ways as
with runs as (
    select * from stg_runs
),

arms as (
    select
        recipes.estimator,
        recipes.recipe,
        coalesce(recipes.training_set, truths.training_set) as training_set,
        coalesce(recipes.trainings, truths.trainings) as trainings,
        recipes.stands_for is not null as estimated
    from recipes
    left join recipes as truths on recipes.stands_for = truths.recipe
),

placed as (
    select
        runs.run,
        runs.base,
        runs.seed,
        arms.training_set,
        arms.trainings,
        row_number() over (
            partition by runs.base, runs.seed, arms.training_set, arms.trainings
            order by arms.estimated, runs.arm
        ) as place
    from runs
    inner join arms using (estimator, recipe)
    where arms.training_set is not null and arms.trainings is not null
)

select
    run,
    base,
    seed,
    training_set,
    trainings
from placed
where place = 1
