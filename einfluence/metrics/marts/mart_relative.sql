-- One row a (run, probe of one sample that raised itself, kind of relation): medians of influence over √self-influence
-- of the probe (ℓ-RelatIF, after Barshan et al. 2020), and over that of both sides (their cosine).
with cells as (
    select * from mart_cells
    where kind is not null and kind <> 'self'
),

selves as (
    select * from mart_selves
)

select
    cells.run,
    cells.probe,
    cells.kind,
    median(cells.influence / sqrt(probes.influence)) as over_probe,
    median(cells.influence / sqrt(probes.influence * queries.influence)) as over_both
from cells
inner join selves as probes using (run, probe)
left join selves as queries on cells.run = queries.run and cells.query = queries.own_query
group by cells.run, cells.probe, cells.kind
