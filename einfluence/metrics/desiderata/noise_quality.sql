-- One row a (run, clean probe, variant): does it learn less from bad data?
with samples as (
    select
        run,
        probe,
        strength
    from mart_samples
),

levels as (
    select
        noise.run,
        noise.parent,
        noise.noise,
        noise.level,
        avg(noise.noisy_on_clean / samples.strength) as quality,
        avg(noise.noisy_on_clean) as nats,
        any_value(samples.strength) as clean_nats
    from mart_noise as noise
    inner join samples on noise.run = samples.run and noise.parent = samples.probe
    group by all
),

spans as (
    select
        noise,
        min(level) as weakest,
        max(level) as strongest
    from levels
    group by noise
),

families as (
    select
        levels.run,
        levels.parent,
        levels.noise,
        avg(levels.quality) as quality,
        avg(levels.nats) as nats,
        any_value(levels.clean_nats) as clean_nats,
        regr_slope(levels.quality, (levels.level - spans.weakest) / nullif(spans.strongest - spans.weakest, 0)) as slope
    from levels
    inner join spans on levels.noise = spans.noise
    group by levels.run, levels.parent, levels.noise
)

select
    run,
    parent as probe,
    noise || '@' || format('{:g}', level) as variant,
    'score' as formula,
    noise as kind,
    level,
    'lower' as better,
    quality as value,
    1.0 as null_value,
    cast(null as double) as ideal,
    'median' as summary
from levels
where noise <> 'label_flip' and level is not null

union all

select
    run,
    parent as probe,
    noise as variant,
    'score' as formula,
    noise as kind,
    cast(null as double) as level,
    'lower' as better,
    quality as value,
    1.0 as null_value,
    cast(null as double) as ideal,
    'median' as summary
from families
where noise <> 'label_flip'

union all

-- A wrong label takes away many times what the right one gives a base that knows the picture: no share, but a contrast.
select
    run,
    parent as probe,
    noise as variant,
    'contrast' as formula,
    noise as kind,
    cast(null as double) as level,
    cast(null as varchar) as better,
    (clean_nats - nats) / (abs(clean_nats) + abs(nats)) as value,
    0.0 as null_value,
    1.0 as ideal,
    'mean' as summary
from families
where noise = 'label_flip'

union all

select
    run,
    parent as probe,
    noise || ', nats' as variant,
    'nats' as formula,
    noise as kind,
    cast(null as double) as level,
    -- How far a wrong label moves the right class is neither good nor bad: the contrast judges it.
    case when noise = 'label_flip' then 'neither' else 'lower' end as better,
    case when clean_nats is not null then nats end as value,
    clean_nats as null_value,
    cast(null as double) as ideal,
    'median' as summary
from families

union all

select
    run,
    parent as probe,
    noise || ' slope' as variant,
    'slope' as formula,
    noise as kind,
    cast(null as double) as level,
    'lower' as better,
    slope as value,
    0.0 as null_value,
    cast(null as double) as ideal,
    'median' as summary
from families
where noise <> 'label_flip'
