-- grain: one row a desideratum, variant, grid of recipes and domain, where the grid's probes learned equally well
with
matched as (select * from matched)

select *
from matched
order by base, grid, desideratum, variant, domain, estimator
