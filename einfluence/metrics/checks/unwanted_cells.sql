-- One row an arm with cells that no relation asks for: they count in asymmetry alone.
with runs as (
    select * from stg_runs
),

cells as (
    select
        run,
        probe,
        count(*) as n_present
    from stg_cells
    group by run, probe
),

measured as (
    select * from mart_probes
)

select
    runs.arm,
    'unwanted cells' as variant,
    sum(greatest(cells.n_present - coalesce(measured.n_cells, 0), 0)) as amount,
    'no relation asks for them; they count in asymmetry alone' as note
from cells
left join measured using (run, probe)
inner join runs using (run)
group by runs.arm
having sum(greatest(cells.n_present - coalesce(measured.n_cells, 0), 0)) > 0
