-- grain: one row per sample that is a query and a probe by itself: its influence on itself, by one arm
with

cells as (
    select * from influence
    where
        estimator = $estimator
        and base = $base
        and recipe = $recipe
        and seed = $seed
        and engine_version = $engine_version
        and isfinite(influence)
),

alone as (
    select * from single_probes
),

final as (
    select
        alone.sample_id,
        any_value(cells.influence) as nats
    from cells
    inner join alone on cells.probe_id = alone.probe_id and cells.query_id = alone.sample_id
    group by alone.sample_id
)

select * from final
