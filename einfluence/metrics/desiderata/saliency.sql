-- One row a (run, query whose words are explained): of the word that says most for the target, and that some samples of
-- the set have and some have not, how often does one with it have more influence than one without?
with words as (
    select * from salient_words
    where nats > 0 and above is not null
),

runs as (
    select * from stg_runs
),

queries as (
    select * from stg_queries
),

most_salient as (
    select *
    from words
    qualify
        row_number() over (
            partition by base, estimator, recipe, seed, training_set, query_id
            order by nats desc, word asc
        ) = 1
)

select
    runs.run,
    queries.query,
    'shared word' as variant,
    'shared word' as formula,
    'neither' as better,
    most_salient.above as value,
    0.5 as null_value,
    'mean' as summary
from most_salient
inner join runs using (base, estimator, recipe, seed)
inner join queries using (query_id)
