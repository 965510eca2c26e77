-- One row a cell whose relation claims something (every kind but unrelated and self).
with cells as (
    select * from mart_cells
    where kind is not null and kind not in ('unrelated', 'self')
),

levels as (
    select * from stg_levels
)

select
    cells.run,
    cells.probe,
    cells.query,
    cells.kind,
    levels.level,
    cells.influence
from cells
left join levels using (probe, query)
