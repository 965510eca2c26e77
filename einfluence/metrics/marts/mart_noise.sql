-- One row a (run, noisy probe) whose clean one is a probe too: how alike their rows of influence are, and what the
-- noisy one does to the clean one's own samples on average.
with noisy as (
    select
        probes.probe,
        probes.noise,
        probes.level,
        parents.probe as parent
    from stg_probes as probes
    inner join stg_probes as parents on probes.parent_probe_id = parents.probe_id
    where probes.noise is not null and probes.probe >= $low and probes.probe < $high
),

cells as (
    select * from mart_cells
),

own as (
    select * from stg_samples
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
    avg(damaged.influence) filter (where own.own_query is not null) as noisy_on_clean
from noisy
inner join cells as damaged on noisy.probe = damaged.probe
inner join cells as clean
    on
        noisy.parent = clean.probe
        and damaged.run = clean.run
        and damaged.query = clean.query
left join own on noisy.parent = own.probe and damaged.query = own.own_query
group by all
