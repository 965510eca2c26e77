-- grain: one row a base, way of training and training set: what the training on all of it taught, by seeds on average
with
scores as (select * from training_scores),

trainings as (
    select * from trainings
    where kind = 'full' and status = 'done'
),

sets as (select * from training_sets),

trained_on as (select * from trained_on),

recipes as (select * from recipes)

select
    trainings.base,
    trainings.recipe as trainings,
    trainings.training_set,
    recipes.label as way,
    sets.label as schedule,
    sets.samples,
    avg(scores.logprob - scores.logprob_base) filter (where trained_on.stage = 1) as own,
    avg(cast(scores.rank = 1 as integer)) filter (where trained_on.stage = 1) as own_first,
    avg(scores.logprob - scores.logprob_base) filter (where trained_on.stage is null) as held_out,
    avg(cast(scores.rank = 1 as integer)) filter (where trained_on.stage is null) as held_out_first
from trainings
inner join scores using (base, recipe, seed, training)
inner join sets using (training_set)
inner join recipes on trainings.recipe = recipes.recipe
left join trained_on
    on trainings.training_set = trained_on.training_set and scores.query_id = trained_on.sample_id
group by
    trainings.base, trainings.recipe, trainings.training_set, recipes.label, sets.label, sets.samples
order by all
