-- One row a probe that trains on one sample alone, with that sample's number as a query.
create or replace temp table stg_samples as
with queries as (
    select * from stg_queries
    where as_probe is not null
)

select
    as_probe as probe,
    query as own_query
from queries
