-- One row a pair of a run that measures some of its cells, in small numbers; `control_run` is null where its control
-- has no cells.
create or replace temp table stg_sampled as
with sampled as (
    select * from sampled
),

runs as (
    select * from stg_runs
),

controls as (
    select
        estimates.measured_run as run,
        runs.recipe as control,
        min(estimates.run) as control_run
    from stg_estimates as estimates
    inner join runs using (run)
    group by estimates.measured_run, runs.recipe
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
    controls.control_run,
    probes.probe,
    queries.query,
    sampled.share = 1 as claimed,
    sampled.drawn
from sampled
inner join runs using (base, recipe)
left join controls on runs.run = controls.run and sampled.control = controls.control
inner join probes using (probe_id)
inner join queries using (query_id)
