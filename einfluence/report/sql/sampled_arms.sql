-- grain: one row an arm that measures some of its cells: how many, and the estimator by which the others are inferred
with
influence_inferred as (select * from influence_inferred),

sampled as (
    select distinct
        base,
        recipe,
        control
    from sampled
),

recipes as (select * from recipes)

select
    influence_inferred.base,
    influence_inferred.estimator,
    influence_inferred.recipe,
    min(recipes.estimator) as control,
    count(*) filter (where influence_inferred.measured) as measured,
    count(*) as cells
from influence_inferred
inner join sampled using (base, recipe)
left join recipes on sampled.control = recipes.recipe
group by influence_inferred.base, influence_inferred.estimator, influence_inferred.recipe
