-- One row a (run, unlearning, query): the view `unlearning`, in small numbers. A forget set that an arm chose is a row
-- of that arm; one that a file names is a row of the first arm whose trainings these are.
create or replace temp table mart_unlearning as
with unlearning as (
    select * from unlearning
),

runs as (
    select * from stg_runs
),

queries as (
    select * from stg_queries
),

ways as (
    select * from mart_ways
),

by_arms as (
    select
        runs.run,
        unlearning.*
    from unlearning
    inner join runs
        on
            unlearning.base = runs.base
            and unlearning.seed = runs.seed
            and unlearning.chosen_by = runs.recipe
),

by_users as (
    select
        ways.run,
        unlearning.*
    from unlearning
    inner join ways
        on
            unlearning.base = ways.base
            and unlearning.seed = ways.seed
            and unlearning.training_set = ways.training_set
            and unlearning.recipe = ways.trainings
    where unlearning.chosen_by is null
),

owned as (
    select * from by_arms
    union all
    select * from by_users
),

-- A file whose content has changed is another forget set of that name.
forget_sets as (
    select
        run,
        about,
        count(distinct reference) as n_of_that_name
    from owned
    group by run, about
),

named as (
    select
        owned.*,
        owned.about
        || case when forget_sets.n_of_that_name > 1 then ' (' || owned.reference[:6] || ')' else '' end as forget_set
    from owned
    inner join forget_sets using (run, about)
)

select
    named.run,
    named.base,
    named.recipe as trainings,
    named.seed,
    named.method || ' of ' || named.forget_set as name,
    named.forget_set as about,
    named.place,
    named.cost,
    named.reference,
    named.query_id,
    queries.query,
    named.logprob,
    named.logprob_full,
    named.logprob_retrained,
    cast(named.rank = 1 as integer) as is_first,
    cast(named.rank_full = 1 as integer) as is_first_full,
    cast(named.rank_retrained = 1 as integer) as is_first_retrained
from named
inner join queries using (query_id)
where named.place <> 'second stage'
