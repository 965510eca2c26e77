-- grain: one row an arm, noise family and level: how much of the clean lesson the noisy probe still teaches
-- (quality: I(noisy to clean) / I(clean to clean)) and how alike the two influence rows are (invariance: their cosine)
with
report_arms as (select * from report_arms),

report_cells as (select * from report_cells),

report_probes as (select * from report_probes),

report_queries as (select * from report_queries),

probe_members as (select * from probe_members),

samples as (select * from samples),

noisy as (
    select
        report_probes.probe as noisy_probe,
        samples.parent_id,
        samples.noise,
        samples.level
    from report_probes
    inner join probe_members on report_probes.probe_id = probe_members.probe_id
    inner join samples on probe_members.sample_id = samples.sample_id
    where samples.parent_id is not null and samples.noise is not null
),

clean as (
    select
        report_probes.probe as clean_probe,
        probe_members.sample_id
    from report_probes
    inner join probe_members on report_probes.probe_id = probe_members.probe_id
    where report_probes.kind = 'sample'
),

versions as (
    select
        noisy.noisy_probe,
        noisy.noise,
        noisy.level,
        clean.clean_probe,
        report_queries.query as clean_query
    from noisy
    inner join clean on noisy.parent_id = clean.sample_id
    left join report_queries on noisy.parent_id = report_queries.query_id
),

compared as (
    select
        versions.*,
        noisy_cells.arm,
        noisy_cells.query,
        noisy_cells.influence,
        clean_cells.influence as clean_influence
    from versions
    inner join report_cells as noisy_cells on versions.noisy_probe = noisy_cells.probe
    inner join report_cells as clean_cells
        on
            versions.clean_probe = clean_cells.probe
            and noisy_cells.arm = clean_cells.arm
            and noisy_cells.query = clean_cells.query
),

by_probe as (
    select
        arm,
        noise,
        level,
        noisy_probe,
        sum(influence * clean_influence) / nullif(sqrt(sum(influence ^ 2) * sum(clean_influence ^ 2)), 0) as invariance,
        max(influence) filter (where query = clean_query) as onto_clean,
        max(clean_influence) filter (where query = clean_query) as own
    from compared
    group by arm, noise, level, noisy_probe
),

scored as (
    select
        *,
        case when own > 0 then onto_clean / own end as quality
    from by_probe
),

by_level as (
    select
        arm,
        noise,
        level,
        avg(invariance) as invariance,
        coalesce(stddev_samp(invariance), 0) / sqrt(count(invariance)) as invariance_error,
        avg(quality) as quality,
        coalesce(stddev_samp(quality), 0) / sqrt(count(quality)) as quality_error,
        count(*) as probes
    from scored
    group by arm, noise, level
)

select
    report_arms.base,
    report_arms.estimator,
    report_arms.recipe,
    by_level.*
from by_level
inner join report_arms on by_level.arm = report_arms.arm
order by by_level.arm, by_level.noise, by_level.level
