-- grain: one row a desideratum, variant, arm and domain
with
desiderata as (select * from desiderata)

select *
from desiderata
order by base, desideratum, variant, domain, estimator, recipe
