-- One row a (training set that an action was done to, query that no stage of its training trains on): and whether it is
-- of the half that judges. Actions choose and learn on the other half, of queries whose id ends in 0 to 7.
create or replace temp table mart_held_out as
with acted_on as (
    select distinct training_set
    from actions
),

queries as (
    select * from stg_queries
),

trained_on as (
    select * from trained_on
)

select
    acted_on.training_set,
    queries.query,
    queries.query_id,
    queries.query_id[-1:] >= '8' as judges
from acted_on
cross join queries
anti join trained_on on acted_on.training_set = trained_on.training_set and queries.query_id = trained_on.sample_id
