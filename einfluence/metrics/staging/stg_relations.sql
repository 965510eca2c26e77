-- One row a wanted (probe, query) pair, in small numbers; `kind` is a number of stg_kinds.
create or replace temp table stg_relations as
with relations as (
    select
        probe_id,
        query_id,
        kind,
        distance
    from relations
),

probes as (
    select
        probe_id,
        probe
    from stg_probes
),

queries as (
    select
        query_id,
        query
    from stg_queries
),

kinds as (
    select * from stg_kinds
)

select
    probes.probe,
    queries.query,
    kinds.number as kind,
    cast(case when isfinite(relations.distance) then relations.distance end as float) as distance
from relations
inner join probes on relations.probe_id = probes.probe_id
inner join queries on relations.query_id = queries.query_id
left join kinds on relations.kind = kinds.kind
