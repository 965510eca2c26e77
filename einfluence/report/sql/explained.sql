-- grain: one row a way of training on a set, query of the $most that single words say most of, and token or patch of it
-- By its first seed, under the first arm that compares such trainings; `words` is what the arm's samples did, by word.
with
saliency as (select * from saliency),

salient_words as (select * from salient_words),

samples as (select * from samples),

recipes as (select * from recipes),

arms as (
    select
        estimator,
        recipe,
        training_set,
        trainings
    from recipes
    where training_set is not null and stands_for is null
    qualify row_number() over (partition by training_set, trainings order by estimator, recipe) = 1
),

first_seeds as (
    select *
    from saliency
    qualify seed = min(seed) over (partition by base, recipe, training_set, query_id)
),

most_said as (
    select
        base,
        recipe,
        training_set,
        query_id,
        max(abs(nats)) as most
    from first_seeds
    group by base, recipe, training_set, query_id
    qualify row_number() over (partition by base, recipe, training_set order by most desc, query_id asc) <= $most
),

words as (
    select
        base,
        estimator,
        recipe,
        seed,
        training_set,
        query_id,
        list(
            {
                'word': word,
                'nats': nats,
                'samples': samples,
                'has_it': influence_with,
                'has_it_not': influence_without
            }
            order by abs(nats) desc, word asc
        ) as words
    from salient_words
    group by base, estimator, recipe, seed, training_set, query_id
)

select
    said.base,
    arms.estimator,
    arms.recipe,
    said.query_id,
    samples.name,
    samples.target,
    said.position,
    said.token,
    said.patch_column,
    said.nats,
    most_said.most,
    words.words
from first_seeds as said
inner join most_said using (base, recipe, training_set, query_id)
inner join arms on said.training_set = arms.training_set and said.recipe = arms.trainings
inner join samples on said.query_id = samples.sample_id
left join words
    on
        said.base = words.base
        and arms.estimator = words.estimator
        and arms.recipe = words.recipe
        and said.seed = words.seed
        and said.training_set = words.training_set
        and said.query_id = words.query_id
order by
    said.base asc, arms.estimator asc, arms.recipe asc, most_said.most desc, said.query_id asc, said.position asc
