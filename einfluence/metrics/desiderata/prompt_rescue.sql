-- One row a (run of finetune, probe, variant): what prompting with the probe does better, paired by probe.
with variants as (
    select * from mart_variants
    where
        desideratum not in (
            'noise_invariance', 'noise_quality', 'controls', 'layers', 'reliability', 'fidelity', 'fragility',
            'relative', 'classification', 'memorisation', 'lds', 'mislabelled', 'duplicates', 'proxies', 'artifact'
        )
        and not (desideratum = 'semantic_decay' and level is not null)
),

values_by_run as (
    select * from mart_values
    semi join variants using (run, desideratum, variant)
),

runs as (
    select * from stg_runs
    where n_rows > 0
),

arms as (
    select
        *,
        count(*) over (partition by base, estimator) as n_recipes
    from mart_arms
    semi join runs using (arm)
),

-- Scores are averaged over training seeds; the arm's first run stands for it.
first_runs as (
    select
        arm,
        base,
        min(run) as run
    from runs
    where estimator = 'finetune'
    group by arm, base
),

scored as (
    select
        runs.arm,
        values_by_run.desideratum,
        values_by_run.variant,
        values_by_run.probe,
        any_value(values_by_run.summary) as summary,
        -- A ratio of sums has no value by probe; the probe's own ratio stands in for it.
        avg(values_by_run.value / coalesce(nullif(values_by_run.weight, 0), 1)) as value
    from values_by_run
    inner join runs using (run)
    group by all
),

prompted as (
    select
        arms.*,
        scored.* exclude (arm)
    from scored
    inner join arms using (arm)
    where arms.estimator = 'in_context'
),

tuned as (
    select
        first_runs.run,
        first_runs.base,
        scored.* exclude (arm)
    from scored
    inner join first_runs using (arm)
)

select
    tuned.run,
    tuned.probe,
    tuned.desideratum || ': ' || tuned.variant
    || case when prompted.n_recipes > 1 then ' (prompt ' || prompted.recipe[:6] || ')' else '' end as variant,
    variants.formula,
    variants.kind,
    variants.level,
    variants.place,
    variants.layer,
    tuned.desideratum as about,
    prompted.recipe as partner,
    prompted.value - tuned.value as value,
    0.0 as null_value,
    cast(null as double) as ideal,
    case tuned.summary when 'ratio' then 'mean' else tuned.summary end as summary
from tuned
inner join prompted using (base, desideratum, variant, probe)
inner join variants using (run, desideratum, variant)
