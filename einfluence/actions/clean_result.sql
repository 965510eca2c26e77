-- grain: one row per number of the scorecard on what removing the most harmful samples, or random ones, did
with

scorecard as (
    select * from desiderata
),

final as (
    select
        formula,
        kind = 'random' as is_random,
        value,
        ci_low,
        ci_high,
        n
    from scorecard
    where
        desideratum = 'removal'
        and domain = 'all'
        and base = $base
        and recipe = $arm
        and level = $share
        and (kind = $kind or kind = 'random')
        and formula in ('nats', 'predicted')
)

select * from final
