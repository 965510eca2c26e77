-- One row a cell whose relation claims something (every kind but unrelated and self).
with cells as (
    select * from mart_cells
    where kind is not null and kind not in ('unrelated', 'self')
),

levels as (
    select * from stg_levels
),

own as (
    select * from stg_own_relations
)

select
    cells.run,
    cells.probe,
    cells.query,
    cells.kind,
    case when own.run is not null then own.level else levels.level end as level,
    cells.influence
from cells
left join levels on cells.probe = levels.probe and cells.query = levels.query
left join own on cells.run = own.run and cells.probe = own.probe and cells.query = own.query
