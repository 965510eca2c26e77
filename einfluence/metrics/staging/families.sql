-- One row a family of probes (a sample's probe and those of its noisy versions): where it stands and how many cells.
with cells as (
    select
        probe,
        count(*) as n_cells
    from stg_cells
    group by probe
),

probes as (
    select
        probe,
        family
    from stg_probes
)

select
    probes.family,
    min(probes.probe) as first_probe,
    count(*) as n_probes,
    cast(coalesce(sum(cells.n_cells), 0) as bigint) as n_cells
from probes
left join cells using (probe)
group by probes.family
order by probes.family
