-- One row a (run, control probe): what a probe that teaches nothing in particular moves elsewhere.
with cells as (
    select * from mart_cells
    where kind is distinct from 'self'
),

probes as (
    select
        probe,
        control
    from stg_probes
    where kind = 'control'
)

select
    cells.run,
    cells.probe,
    probes.control,
    median(abs(cells.influence)) as size
from cells
inner join probes using (probe)
group by cells.run, cells.probe, probes.control
