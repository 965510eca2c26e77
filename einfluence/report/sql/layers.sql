-- grain: one row an arm, layer and kind of weight: the relative size of its update, over probes; weights that were
-- zero before, of which no size is a share, are left out
with
layer_updates as (select * from layer_updates),

parts as (
    select
        *,
        trim(regexp_replace(parameter, '(^|\.)(\d+)(\.|$)', '.', 'g'), '.') as part
    from layer_updates
)

select
    base,
    estimator,
    recipe,
    layer,
    part,
    avg(relative_update) as relative_update,
    count(distinct probe_id) as probes
from parts
where isfinite(relative_update)
group by base, estimator, recipe, layer, part
order by base, estimator, recipe, layer, part
