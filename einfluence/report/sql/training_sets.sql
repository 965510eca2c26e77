-- grain: one row a base, way of training and training set: what the training on all of it taught, by seeds on average
with
scores as (select * from training_scores),

trainings as (
    select * from trainings
    where kind = 'full' and status = 'done'
),

sets as (select * from training_sets),

members as (select * from training_set_members),

recipes as (select * from recipes)

select
    trainings.base,
    trainings.recipe as trainings,
    trainings.training_set,
    recipes.label as way,
    sets.label as schedule,
    sets.samples,
    avg(scores.logprob - scores.logprob_base) filter (where members.sample_id is not null) as own,
    avg(cast(scores.rank = 1 as integer)) filter (where members.sample_id is not null) as own_first,
    avg(scores.logprob - scores.logprob_base) filter (where members.sample_id is null) as held_out,
    avg(cast(scores.rank = 1 as integer)) filter (where members.sample_id is null) as held_out_first
from trainings
inner join scores using (base, recipe, seed, training)
inner join sets using (training_set)
inner join recipes on trainings.recipe = recipes.recipe
left join members on trainings.training_set = members.training_set and scores.query_id = members.sample_id
group by
    trainings.base, trainings.recipe, trainings.training_set, recipes.label, sets.label, sets.samples
order by all
