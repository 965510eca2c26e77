-- One row a (arm, desideratum, variant, probe or query): its value, averaged over training seeds.
with probe_values as (
    select * from mart_values
),

runs as (
    select * from stg_runs
),

probes as (
    select * from stg_probes
),

queries as (
    select * from stg_queries
),

learned as (
    select
        run,
        probe,
        learned,
        asked
    from mart_samples
)

select
    runs.arm,
    probe_values.desideratum,
    probe_values.variant,
    probe_values.probe,
    probe_values.query,
    any_value(coalesce(probes.cluster_number, queries.cluster_number)) as cluster,
    any_value(coalesce(probes.domain, queries.domain)) as domain,
    any_value(probe_values.summary) as summary,
    any_value(probe_values.ideal) as ideal,
    avg(probe_values.value) filter (where isfinite(probe_values.value)) as value,
    avg(probe_values.weight) filter (where isfinite(probe_values.value)) as weight,
    avg(probe_values.null_value) filter (where isfinite(probe_values.null_value)) as null_value,
    avg(probe_values.learner) filter (where isfinite(probe_values.learner)) as learner,
    case when min(learned.asked) = max(learned.asked) then cast(min(learned.asked) as varchar) end as asked,
    coalesce(bool_or(learned.learned), true) as learned
from probe_values
inner join runs using (run)
left join probes using (probe)
left join queries using (query)
left join learned using (run, probe)
group by runs.arm, probe_values.desideratum, probe_values.variant, probe_values.probe, probe_values.query
order by runs.arm, probe_values.desideratum, probe_values.variant, probe_values.probe, probe_values.query
