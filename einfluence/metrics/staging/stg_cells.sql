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
        n_tokens,
        logprob_before,
        logprob_after,
        rank_before,
        rank_after
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
    -- null where it is not known, as of estimates: `least` would take it for the limit
    cast(case when influence.n_tokens is not null then least(influence.n_tokens, 65535) end as usmallint) as n_tokens,
    influence.influence,
    -- log p/(1 - p), after minus before; close to p = 1 by the series of 1 - p, which loses no digits there
    cast(
        influence.logprob_after - influence.logprob_before
        - case
            when influence.logprob_after > -1e-5 then ln(-influence.logprob_after) + influence.logprob_after / 2
            else ln(1 - exp(influence.logprob_after))
        end
        + case
            when influence.logprob_before > -1e-5 then ln(-influence.logprob_before) + influence.logprob_before / 2
            else ln(1 - exp(influence.logprob_before))
        end as float
    ) as log_odds,
    influence.rank_before = 1 as first_before,
    influence.rank_after = 1 as first_after
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
