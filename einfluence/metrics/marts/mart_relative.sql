-- One row a (run, probe of one row that raised itself, kind of relation): medians of influence over √self-influence
-- of the probe (ℓ-RelatIF, after Barshan et al. 2020), and over that of both sides (their cosine).
with cells as (
    select * from mart_cells
    where kind is not null and kind <> 'self'
),

selves as (
    select * from mart_selves
),

probes as (
    select
        run,
        probe,
        avg(influence) as influence
    from selves
    group by run, probe
    having avg(influence) > 0
),

-- An answer may be trained alone and with its chat.
queries as (
    select
        run,
        own_query,
        avg(influence) as influence
    from selves
    group by run, own_query
    having avg(influence) > 0
)

select
    cells.run,
    cells.probe,
    cells.kind,
    median(cells.influence / sqrt(probes.influence)) as over_probe,
    median(cells.influence / sqrt(probes.influence * queries.influence)) as over_both
from cells
inner join probes using (run, probe)
left join queries on cells.run = queries.run and cells.query = queries.own_query
group by cells.run, cells.probe, cells.kind
