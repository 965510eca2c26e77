-- One row a (run, clean probe, variant): does it teach the same when the picture is damaged?
with samples as (
    select
        run,
        probe,
        learned
    from mart_samples
),

-- A wrong label is another lesson, not a damaged picture: it counts in noise_quality alone.
noise as (
    select
        noise.*,
        samples.learned
    from mart_noise as noise
    inner join samples on noise.run = samples.run and noise.parent = samples.probe
    where noise.noise <> 'label_flip'
),

levels as (
    select
        run,
        parent,
        noise,
        level,
        avg(case when learned then cosine end) as cosine
    from noise
    group by run, parent, noise, level
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
        avg(levels.cosine) as cosine,
        regr_slope(levels.cosine, (levels.level - spans.weakest) / nullif(spans.strongest - spans.weakest, 0)) as slope
    from levels
    inner join spans on levels.noise = spans.noise
    group by levels.run, levels.parent, levels.noise
)

select
    run,
    parent as probe,
    noise || '@' || format('{:g}', level) as variant,
    'cosine' as formula,
    noise as kind,
    level,
    cosine as value,
    0.0 as null_value,
    1.0 as ideal,
    'mean' as summary
from levels
where level is not null

union all

select
    run,
    parent as probe,
    noise as variant,
    'cosine' as formula,
    noise as kind,
    cast(null as double) as level,
    cosine as value,
    0.0 as null_value,
    1.0 as ideal,
    'mean' as summary
from families

union all

select
    run,
    parent as probe,
    noise || ' slope' as variant,
    'slope' as formula,
    noise as kind,
    cast(null as double) as level,
    slope as value,
    0.0 as null_value,
    0.0 as ideal,
    'mean' as summary
from families
