-- One row a (ensemble of a run, training on a random subset) that its sums are held against, numbered by content.
create or replace temp table mart_drawn as
with ensembles as (
    select * from mart_ensembles
),

trainings as (
    select * from trainings
    where kind = 'subset' and status = 'done'
),

own as (
    select * from subset_trainings
),

held as (
    select
        ensembles.ensemble,
        trainings.training
    from ensembles
    inner join trainings
        on
            ensembles.base = trainings.base
            and ensembles.trainings = trainings.recipe
            and ensembles.training_set = trainings.training_set
            and ensembles.seed = trainings.seed
    where ensembles.estimator <> 'subsets'

    union

    select
        ensembles.ensemble,
        own.training
    from ensembles
    inner join own using (base, estimator, recipe, seed, training_set, trainings)
    where ensembles.estimator = 'subsets'
)

select
    ensemble,
    training,
    cast(row_number() over (partition by ensemble order by training) - 1 as integer) as number
from held
