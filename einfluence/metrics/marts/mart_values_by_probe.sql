-- One row a (arm, seed, desideratum, variant, probe or query): the value that the scorecard summarises. Of a value by
-- query `probe` and `probe_id` are the query's name and id.
with probe_values as (
    select * from mart_values
)

select
    runs.estimator,
    runs.base,
    runs.recipe,
    runs.seed,
    coalesce(probes.domain, queries.domain, '') as domain,
    coalesce(probes.cluster, queries.cluster) as cluster,
    coalesce(probes.probe_id, queries.query_id) as probe_id,
    coalesce(probes.name, queries.name) as probe,
    probe_values.desideratum,
    probe_values.variant,
    probe_values.summary,
    probe_values.value,
    probe_values.weight,
    probe_values.null_value,
    probe_values.ideal
from probe_values
inner join stg_runs as runs using (run)
left join stg_probes as probes using (probe)
left join stg_queries as queries using (query)
order by all
