-- One row a (run, noisy probe) whose clean sample is a probe too: how alike their rows of influence are.
with noisy as (
    select
        probes.probe,
        probes.noise,
        probes.level,
        parents.probe as parent,
        queries.query as parent_query
    from stg_probes as probes
    inner join stg_probes as parents on probes.parent_probe_id = parents.probe_id
    inner join stg_queries as queries on parents.probe = queries.as_probe
    where probes.noise is not null and probes.probe >= $low and probes.probe < $high
),

cells as (
    select * from mart_cells
)

select
    damaged.run,
    noisy.probe,
    noisy.parent,
    noisy.noise,
    noisy.level,
    count(*) as n_common,
    sum(damaged.influence * clean.influence)
    / nullif(sqrt(sum(damaged.influence * damaged.influence) * sum(clean.influence * clean.influence)), 0) as cosine,
    max(damaged.influence) filter (where damaged.query = noisy.parent_query) as noisy_on_clean
from noisy
inner join cells as damaged on noisy.probe = damaged.probe
inner join cells as clean
    on
        noisy.parent = clean.probe
        and damaged.run = clean.run
        and damaged.query = clean.query
group by all
