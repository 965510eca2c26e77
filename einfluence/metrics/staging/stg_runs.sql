-- One row a run: an arm (estimator, base, recipe) with one training seed. `arm` and `run` are small numbers for them.
-- A run whose probes all failed has no rows of influence; the checks count it.
create or replace temp table stg_runs as
with cells as (
    select
        estimator,
        base,
        recipe,
        seed,
        count(*) as n_rows,
        count(*) filter (where isfinite(influence)) as n_finite
    from influence
    group by estimator, base, recipe, seed
),

outcomes as (
    select * from outcomes
),

tried as (
    select
        estimator,
        base,
        recipe,
        seed
    from cells
    union
    select
        estimator,
        base,
        recipe,
        seed
    from outcomes
),

bases as (
    select
        base,
        any_value(modality) as modality
    from bases
    group by base
),

recipes as (
    select
        recipe,
        any_value(stands_for) as stands_for,
        any_value(unit) as unit
    from recipes
    group by recipe
)

select
    tried.estimator,
    tried.base,
    tried.recipe,
    tried.seed,
    bases.modality,
    recipes.stands_for,
    recipes.unit,
    coalesce(cells.n_rows, 0) as n_rows,
    coalesce(cells.n_finite, 0) as n_finite,
    cast(row_number() over (order by estimator, base, recipe, seed) as usmallint) as run,
    cast(dense_rank() over (order by estimator, base, recipe) as usmallint) as arm
from tried
left join cells using (estimator, base, recipe, seed)
left join bases using (base)
left join recipes using (recipe)
