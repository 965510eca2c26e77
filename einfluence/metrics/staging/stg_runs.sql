-- One row a run: an arm (estimator, base, recipe) with one training seed. `arm` and `run` are small numbers for them.
create or replace temp table stg_runs as
with influence as (
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

bases as (
    select
        base,
        any_value(modality) as modality
    from bases
    group by base
)

select
    influence.estimator,
    influence.base,
    influence.recipe,
    influence.seed,
    influence.n_rows,
    influence.n_finite,
    bases.modality,
    cast(row_number() over (order by estimator, base, recipe, seed) as usmallint) as run,
    cast(dense_rank() over (order by estimator, base, recipe) as usmallint) as arm
from influence
left join bases using (base)
