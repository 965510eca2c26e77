-- grain: one row a desideratum, variant, arm of $base and domain; of all domains together alone, unless $domains
with
desiderata as (select * from desiderata)

select *
from desiderata
where base = $base and ($domains or domain = 'all')
order by base, desideratum, variant, domain, estimator, recipe
