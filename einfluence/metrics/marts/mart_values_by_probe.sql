-- One row a (arm, seed, desideratum, variant, probe): the value that the scorecard summarises over probes.
with probe_values as (
    select * from mart_values
)

select
    runs.estimator,
    runs.base,
    runs.recipe,
    runs.seed,
    coalesce(probes.domain, '') as domain,
    probes.cluster,
    probes.probe_id,
    probes.name as probe,
    probe_values.desideratum,
    probe_values.variant,
    probe_values.summary,
    probe_values.value,
    probe_values.weight,
    probe_values.null_value,
    probe_values.ideal
from probe_values
inner join stg_runs as runs using (run)
inner join stg_probes as probes using (probe)
order by all
