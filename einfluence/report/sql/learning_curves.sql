-- grain: one row a base, way of training that was watched, training set, panel and step; by seeds on average
-- Panels are the mean of the set's samples, that of what is held out, and the samples of the set that it moved most.
with
scores as (
    select * from training_scores
    where isfinite(logprob)
),

trainings as (
    select * from trainings
    where kind in ('full', 'watched') and status = 'done'
),

members as (select * from training_set_members),

samples as (select * from samples),

arms as (
    select * from arms_of_sets
    qualify row_number() over (
        partition by training_set, trainings
        order by stands_for is not null, estimator, recipe
    ) = 1
),

after_steps as (
    select
        trainings.base,
        trainings.recipe as trainings,
        trainings.training_set,
        scores.query_id,
        coalesce(scores.step, len(trainings.losses)) as step,
        scores.logprob
    from trainings
    inner join scores using (base, recipe, seed, training, engine_version)
),

at_first as (
    select
        trainings.base,
        trainings.recipe as trainings,
        trainings.training_set,
        scores.query_id,
        0 as step,
        scores.logprob_base as logprob
    from trainings
    inner join scores using (base, recipe, seed, training, engine_version)
    where trainings.kind = 'full'
),

watched as (
    select distinct
        base,
        recipe as trainings,
        training_set
    from trainings
    where kind = 'watched'
),

every_step as (
    select * from after_steps
    union all
    select * from at_first
),

points as (
    select
        base,
        trainings,
        training_set,
        query_id,
        step,
        avg(logprob) as logprob,
        max(step) over (partition by base, trainings, training_set, query_id) as last_step
    from every_step
    semi join watched using (base, trainings, training_set)
    group by base, trainings, training_set, query_id, step
),

own as (
    select
        points.*,
        members.sample_id is not null as is_own
    from points
    left join members on points.training_set = members.training_set and points.query_id = members.sample_id
),

moved as (
    select
        base,
        trainings,
        training_set,
        query_id,
        row_number() over (
            partition by base, trainings, training_set
            order by
                abs(max(logprob) filter (where step = last_step) - max(logprob) filter (where step = 0)) desc,
                query_id
        ) as place
    from own
    where is_own
    group by base, trainings, training_set, query_id
),

means as (
    select
        base,
        trainings,
        training_set,
        if(is_own, 'its samples, on average', 'what is held out, on average') as panel,
        if(is_own, -1, 0) as place,
        step,
        avg(logprob) as logprob
    from own
    group by base, trainings, training_set, is_own, step
),

singles as (
    select
        own.base,
        own.trainings,
        own.training_set,
        samples.name as panel,
        moved.place,
        own.step,
        own.logprob
    from own
    inner join moved using (base, trainings, training_set, query_id)
    inner join samples on own.query_id = samples.sample_id
    where moved.place <= $most
),

curves as (
    select * from means
    union all
    select * from singles
)

select
    curves.base,
    arms.estimator,
    arms.recipe,
    curves.panel,
    curves.step,
    curves.logprob
from curves
inner join arms using (training_set, trainings)
order by curves.place, curves.panel, curves.base, arms.recipe, curves.step
