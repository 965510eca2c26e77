-- One row a (run, probe, variant): where did the update go, by layer and by kind of module?
with updates as (
    select
        runs.run,
        probes.probe,
        updates.layer,
        regexp_extract(updates.parameter, '([^.]+)(\.(weight|bias))?$', 1) as module,
        updates.update_norm * updates.update_norm as square,
        updates.relative_update
    from layer_updates as updates
    inner join stg_runs as runs using (estimator, base, recipe, seed)
    inner join stg_probes as probes using (probe_id)
    left join stg_own_probes as own on runs.run = own.run and probes.probe = own.probe
    where is_example(coalesce(own.kind, probes.kind)) and isfinite(updates.update_norm)
),

totals as (
    select
        run,
        probe,
        sum(square) as square
    from updates
    group by run, probe
),

places as (
    select
        run,
        probe,
        coalesce('layer ' || layer, 'outside the layers') as place,
        layer,
        square,
        relative_update
    from updates
    union all
    select
        run,
        probe,
        'module ' || module as place,
        null as layer,
        square,
        relative_update
    from updates
),

summed as (
    select
        places.run,
        places.probe,
        places.place,
        places.layer,
        sum(places.square) / nullif(any_value(totals.square), 0) as share,
        avg(places.relative_update) filter (where isfinite(places.relative_update)) as relative_update
    from places
    inner join totals using (run, probe)
    group by places.run, places.probe, places.place, places.layer
)

select
    run,
    probe,
    place || ': share' as variant,
    'share' as formula,
    place,
    layer,
    share as value,
    cast(null as double) as null_value,
    cast(null as double) as ideal,
    'mean' as summary
from summed

union all

select
    run,
    probe,
    place || ': relative' as variant,
    'relative' as formula,
    place,
    layer,
    relative_update as value,
    cast(null as double) as null_value,
    cast(null as double) as ideal,
    'median' as summary
from summed
