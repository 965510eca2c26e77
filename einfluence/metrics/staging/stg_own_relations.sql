-- One row a run and wanted pair of which the run's own parts say something else than stg_relations, in small numbers.
create or replace temp table stg_own_relations as
with relations as (
    select * from arm_relations
),

runs as (
    select
        base,
        recipe,
        run
    from stg_runs
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
)

select
    runs.run,
    probes.probe,
    queries.query,
    relations.kind,
    relations.level,
    cast(case when isfinite(relations.distance) then relations.distance end as float) as distance
from relations
inner join runs on relations.base = runs.base and relations.recipe = runs.recipe
inner join probes on relations.probe_id = probes.probe_id
inner join queries on relations.query_id = queries.query_id
