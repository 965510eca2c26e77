-- One row a run and wanted pair whose distance by the run's base is another than in stg_relations, in small numbers.
create or replace temp table stg_distances as
with distances as (
    select * from base_distances
),

runs as (
    select
        base,
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
    cast(case when isfinite(distances.distance) then distances.distance end as float) as distance
from distances
inner join runs on distances.base = runs.base
inner join probes on distances.probe_id = probes.probe_id
inner join queries on distances.query_id = queries.query_id
