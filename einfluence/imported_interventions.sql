-- One row an intervention (a base and a recipe whose cells are measured, in nats) with its names.
with cells as (
    select distinct
        base,
        estimator,
        recipe
    from influence
)

select
    cells.base,
    cells.estimator,
    cells.recipe,
    coalesce(recipes.label, cells.recipe) as label,
    coalesce(bases.label, cells.base) as base_label
from cells
left join recipes using (recipe)
left join bases using (base)
where recipes.stands_for is null and recipes.unit is null
order by all
