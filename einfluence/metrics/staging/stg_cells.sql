-- One row a cell with a finite influence, in small numbers instead of hashes.
create or replace temp table stg_cells as
with influence as (
    select
        estimator,
        base,
        recipe,
        seed,
        probe_id,
        query_id,
        influence,
        n_tokens
    from influence
),

runs as (
    select * from stg_runs
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
    cast(least(influence.n_tokens, 65535) as usmallint) as n_tokens,
    influence.influence
from influence
inner join runs
    on
        influence.estimator = runs.estimator
        and influence.base = runs.base
        and influence.recipe = runs.recipe
        and influence.seed = runs.seed
inner join probes on influence.probe_id = probes.probe_id
inner join queries on influence.query_id = queries.query_id
where isfinite(influence.influence)
