-- One row a way of training on a set at one seed, with the run that is shown what is known of the trainings themselves:
-- of the arms that are about them an intervention before an estimate.
create or replace temp table mart_ways as
with runs as (
    select * from stg_runs
),

arms as (
    select * from arms_of_sets
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
            order by arms.stands_for is not null, runs.arm
        ) as place
    from runs
    inner join arms using (estimator, recipe)
)

select
    run,
    base,
    seed,
    training_set,
    trainings
from placed
where place = 1
