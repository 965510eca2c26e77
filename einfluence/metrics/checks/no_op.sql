-- One row an arm that trains nothing (no steps, or a learning rate of zero) and yet has influence: something is wrong.
with recipes as (
    select
        recipe,
        coalesce(json ->> '$.recipe.steps', json ->> '$.steps') as steps,
        coalesce(json ->> '$.recipe.lr', json ->> '$.optimizer.lr', json ->> '$.lr') as lr
    from recipes
),

idle as (
    select
        runs.run,
        runs.arm
    from stg_runs as runs
    inner join recipes using (recipe)
    where try_cast(recipes.steps as double) = 0 or try_cast(recipes.lr as double) = 0
)

select
    idle.arm,
    'no-op cells that are not zero' as variant,
    count(*) as amount,
    'a probe that trains nothing must have influence exactly 0' as note
from stg_cells as cells
inner join idle using (run)
where cells.influence <> 0
group by idle.arm
