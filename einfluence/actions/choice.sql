-- grain: one row per probe of one arm, with the sum of its influence on the queries that are named
with

cells as (
    select * from influence
),

final as (
    select
        probe_id,
        sum(influence) as score,
        count(distinct query_id) as n
    from cells
    where
        base = $base
        and estimator = $estimator
        and recipe = $recipe
        and seed = $seed
        and engine_version = $engine_version
        and query_id in (select unnest($queries))
        and isfinite(influence)
    group by probe_id
)

select * from final
