-- One row a cell that has a distance and is not the probe's own, with its ranks (ties get their mean rank) in its row.
create or replace temp table mart_ranks as
with cells as (
    select
        run,
        probe,
        abs(influence) as size,
        distance
    from mart_cells
    where distance is not null and kind is distinct from 'self'
)

select
    run,
    probe,
    size,
    rank() over near
    + (count(*) over (near range between current row and current row) - 1) / 2.0 as distance_rank,
    rank() over small
    + (count(*) over (small range between current row and current row) - 1) / 2.0 as size_rank
from cells
window
    near as (partition by run, probe order by distance),
    small as (partition by run, probe order by size)
