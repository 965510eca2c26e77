-- One row a run and probe that the run's own parts call another kind than stg_probes.
create or replace temp table stg_own_probes as
with described as (
    select * from arm_probes
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
)

select
    runs.run,
    probes.probe,
    described.kind
from described
inner join runs on described.base = runs.base and described.recipe = runs.recipe
inner join probes on described.probe_id = probes.probe_id
