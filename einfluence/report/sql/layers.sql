-- grain: one row an arm, layer and kind of weight: the relative size of its update, over probes
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
    coalesce(stddev_samp(relative_update), 0) / sqrt(count(*)) as standard_error,
    avg(update_norm) as update_norm,
    count(distinct probe_id) as probes
from parts
group by base, estimator, recipe, layer, part
order by base, estimator, recipe, layer, part
