-- grain: one row an arm (base, estimator, recipe) that was tried
with
report_arms as (select * from report_arms),

bases as (select * from bases),

recipes as (select * from recipes),

-- What was measured most comes first.
outcomes as (
    select
        base,
        count(*) as amount
    from outcomes
    group by base
),

named as (
    select
        report_arms.base,
        report_arms.estimator,
        report_arms.recipe,
        report_arms.arm,
        recipes.label as recipe_label,
        recipes.json as recipe_json,
        intervention.estimator as intervention,
        intervention.json as intervention_json,
        coalesce(bases.label, report_arms.base) as base_label,
        coalesce(bases.modality, 'text') as modality,
        case
            when bases.modality = 'image' then 'image'
            when coalesce(bases.json ->> 'objective', 'causal_lm') = 'causal_lm' then 'fact'
            else 'text'
        end as thing
    from report_arms
    left join bases on report_arms.base = bases.base
    left join recipes on report_arms.recipe = recipes.recipe and report_arms.estimator = recipes.estimator
    left join recipes as intervention on recipes.stands_for = intervention.recipe
)

select named.*
from named
left join outcomes on named.base = outcomes.base
order by
    named.modality desc, outcomes.amount desc nulls last, named.base asc, (named.estimator = 'finetune') desc,
    named.estimator asc, named.recipe asc
