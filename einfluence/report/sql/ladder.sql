-- grain: one row for each row of the scorecard on a ladder, and rung, from the null up; of $base as in scorecard.sql
with
ladder as (select * from ladder)

select *
from ladder
where base = $base and ($domains or domain = 'all')
order by base, desideratum, variant, domain, estimator, recipe, list_position(['null', 'prompting', 'best arm'], rung)
