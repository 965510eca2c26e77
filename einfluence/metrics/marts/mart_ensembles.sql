-- One row a (run, ensemble): trainings on random subsets of one set that the run's sums of influence are held against.
-- An arm within a set, and an estimate of one, are held against that set's; any other against all of its base. What is
-- regressed on subsets predicts those that it was not fitted on; what else may have been fitted to them is left out.
create or replace temp table mart_ensembles as
with trainings as (
    select * from trainings
),

recipes as (
    select * from recipes
),

runs as (
    select * from stg_runs
    where n_finite > 0
),

ensembles as (
    select distinct
        base,
        recipe as trainings,
        training_set,
        seed
    from trainings
    where kind = 'subset' and status = 'done'
),

arms as (
    select
        sets.*,
        recipes.json,
        sets.stands_for is null and sets.estimator not in ('leave_one_out', 'subsets') as maybe_fitted
    from arms_of_sets as sets
    inner join recipes using (recipe)
),

numbered as (
    select
        runs.run,
        runs.estimator,
        runs.recipe,
        ensembles.base,
        ensembles.trainings,
        ensembles.training_set,
        ensembles.seed,
        case
            when runs.estimator = 'subsets' then cast(json_extract_string(arms.json, '$.ridge') as double)
        end as ridge,
        row_number() over (
            partition by runs.run, ensembles.trainings, ensembles.training_set
            order by ensembles.seed <> runs.seed, ensembles.seed
        ) as place
    from runs
    inner join ensembles using (base)
    left join arms using (estimator, recipe)
    where
        not coalesce(arms.maybe_fitted, false)
        and coalesce(arms.training_set, ensembles.training_set) = ensembles.training_set
        and coalesce(arms.trainings, ensembles.trainings) = ensembles.trainings
)

select
    run,
    estimator,
    recipe,
    base,
    trainings,
    training_set,
    seed,
    ridge,
    cast(row_number() over (order by run, trainings, training_set) as integer) as ensemble,
    count(*) over (partition by run) as n_ensembles
from numbered
where place = 1
