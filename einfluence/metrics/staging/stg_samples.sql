-- One row a (probe of one row of the data, sample of its own): one of a probe of one sample, of a chat one an answer.
create or replace temp table stg_samples as
with queries as (
    select * from stg_queries
),

chats as (
    select
        probe_id,
        probe
    from stg_probes
    where kind = 'chat'
)

select
    as_probe as probe,
    query as own_query
from queries
where as_probe is not null

union all

select distinct
    chats.probe,
    queries.query as own_query
from chats
inner join probe_members using (probe_id)
inner join queries on probe_members.sample_id = queries.query_id
