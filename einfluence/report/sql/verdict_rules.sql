-- grain: one row a house rule that the verdicts go by
with
verdict_rules as (select * from verdict_rules)

select *
from verdict_rules
