-- One row a (run, probe, query, place): log-probabilities before, after, and after with the change at the place undone.
create or replace temp table stg_restorations as
with restorations as (
    select * from restorations
),

runs as (
    select * from stg_runs
),

probes as (
    select * from stg_probes
),

queries as (
    select * from stg_queries
)

select
    runs.run,
    probes.probe,
    queries.query,
    probes.probe_id,
    queries.query_id,
    restorations.place,
    -- Old rows say in the name of the place alone which layer it is.
    coalesce(
        restorations.layer, try_cast(regexp_extract(restorations.place, '^layer (\d+)$', 1) as integer)
    ) as layer,
    restorations.logprob_before,
    restorations.logprob_after,
    restorations.logprob_restored
from restorations
inner join runs using (estimator, base, recipe, seed)
inner join probes using (probe_id)
inner join queries using (query_id)
