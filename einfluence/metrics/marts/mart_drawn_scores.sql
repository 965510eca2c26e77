-- One row a (training of the ensemble $ensemble, query): the log-probability that sums are held against.
with ensembles as (
    select * from mart_ensembles
    where ensemble = $ensemble
),

drawn as (
    select * from mart_drawn
    where ensemble = $ensemble
),

scores as (
    select * from training_scores
),

queries as (
    select * from stg_queries
)

select
    drawn.number,
    queries.query,
    any_value(scores.logprob) as logprob
from ensembles
inner join drawn using (ensemble)
inner join scores
    on
        ensembles.base = scores.base
        and ensembles.trainings = scores.recipe
        and ensembles.seed = scores.seed
        and drawn.training = scores.training
inner join queries using (query_id)
where isfinite(scores.logprob)
group by drawn.number, queries.query
