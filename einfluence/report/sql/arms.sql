-- grain: one row an arm (base, estimator, recipe) that has cells
with
influence as (select * from influence),
bases as (select * from bases),
recipes as (select * from recipes),
counts as (
    select
        base,
        estimator,
        recipe,
        count(*) as cells,
        count(distinct probe_id) as probes,
        count(distinct query_id) as queries,
        count(distinct seed) as seeds
    from influence
    group by base, estimator, recipe
),
named as (
    select
        counts.*,
        recipes.label as recipe_label,
        recipes.json as recipe_json,
        coalesce(bases.label, counts.base) as base_label,
        coalesce(bases.modality, 'text') as modality
    from counts
    left join bases on counts.base = bases.base
    left join recipes on counts.recipe = recipes.recipe and counts.estimator = recipes.estimator
)
select *
from named
order by modality desc, base, (estimator = 'finetune') desc, estimator, recipe_label, recipe
