-- One row a pair whose relation has a level (noise level, or depth of inference).
create or replace temp table stg_levels as
with relations as (
    select
        probe_id,
        query_id,
        level
    from relations
    where level is not null
)

select
    probes.probe,
    queries.query,
    max(relations.level) as level
from relations
inner join stg_probes as probes using (probe_id)
inner join stg_queries as queries using (query_id)
group by all
