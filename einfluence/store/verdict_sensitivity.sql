-- grain: one row an arm and house rule: how many verdicts would be others at half and at double of it
create or replace view verdict_sensitivity as
with
desiderata as (select * from desiderata where domain = 'all' and rule is not null),

rules as (select * from verdict_rules)

select
    desiderata.estimator,
    desiderata.base,
    desiderata.recipe,
    desiderata.rule,
    any_value(rules.value) as value,
    count(*) as verdicts,
    count(*) filter (where desiderata.verdict_half <> desiderata.verdict) as turn_at_half,
    count(*) filter (where desiderata.verdict_double <> desiderata.verdict) as turn_at_double
from desiderata
left join rules on rules.rule = case desiderata.rule when 'ladder' then 'apart' else desiderata.rule end
group by desiderata.estimator, desiderata.base, desiderata.recipe, desiderata.rule
