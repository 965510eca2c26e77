-- grain: one row for each row of the scorecard on a ladder, and rung, from the null up
with
ladder as (select * from ladder)

select *
from ladder
order by base, desideratum, variant, domain, estimator, recipe, list_position(['null', 'prompting', 'best arm'], rung)
