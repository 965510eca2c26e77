-- grain: one row an arm, noise family and level: how much of the clean lesson the noisy probe still teaches
-- (quality: I(noisy to clean) / I(clean to clean)) and how alike the two influence rows are (invariance: their cosine)
with
influence as (select * from influence),
probes as (select * from probes),
probe_members as (select * from probe_members),
samples as (select * from samples),
cells as (
    select
        base,
        estimator,
        recipe,
        probe_id,
        query_id,
        avg(influence) as influence
    from influence
    group by base, estimator, recipe, probe_id, query_id
),
noisy as (
    select
        probe_members.probe_id as noisy_id,
        samples.parent_id,
        samples.noise,
        samples.level
    from probe_members
    inner join samples on probe_members.sample_id = samples.sample_id
    where samples.parent_id is not null and samples.noise is not null
),
clean as (
    select
        probes.probe_id as clean_id,
        probe_members.sample_id
    from probes
    inner join probe_members on probes.probe_id = probe_members.probe_id
    where probes.kind = 'sample'
),
pairs as (
    select
        noisy.*,
        clean.clean_id
    from noisy
    inner join clean on noisy.parent_id = clean.sample_id
),
noisy_cells as (
    select
        pairs.*,
        cells.base,
        cells.estimator,
        cells.recipe,
        cells.query_id,
        cells.influence
    from pairs
    inner join cells on pairs.noisy_id = cells.probe_id
),
compared as (
    select
        noisy_cells.*,
        cells.influence as clean_influence
    from noisy_cells
    inner join cells
        on
            noisy_cells.clean_id = cells.probe_id
            and noisy_cells.query_id = cells.query_id
            and noisy_cells.base = cells.base
            and noisy_cells.estimator = cells.estimator
            and noisy_cells.recipe = cells.recipe
),
by_probe as (
    select
        base,
        estimator,
        recipe,
        noise,
        level,
        noisy_id,
        sum(influence * clean_influence) / nullif(sqrt(sum(influence ^ 2) * sum(clean_influence ^ 2)), 0) as invariance,
        max(influence) filter (where query_id = parent_id) as onto_clean,
        max(clean_influence) filter (where query_id = parent_id) as own
    from compared
    group by base, estimator, recipe, noise, level, noisy_id
),
scored as (
    select
        *,
        case when own > 0 then onto_clean / own end as quality
    from by_probe
)
select
    base,
    estimator,
    recipe,
    noise,
    level,
    avg(invariance) as invariance,
    coalesce(stddev_samp(invariance), 0) / sqrt(count(invariance)) as invariance_error,
    avg(quality) as quality,
    coalesce(stddev_samp(quality), 0) / sqrt(count(quality)) as quality_error,
    count(*) as probes
from scored
group by base, estimator, recipe, noise, level
order by base, estimator, recipe, noise, level
