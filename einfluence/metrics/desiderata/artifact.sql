-- One row a (run, query, variant): does a feature of the samples go with how much they matter to the query?
with artifacts as (
    select * from mart_artifacts
),

permuted as (
    select * from mart_permuted_features
),

runs as (
    select
        run,
        arm
    from stg_runs
)

select
    artifacts.run,
    artifacts.query,
    artifacts.feature || case artifacts.formula when 'linear' then ': linear' else '' end as variant,
    artifacts.formula,
    artifacts.feature as kind,
    permuted.p_value,
    'neither' as better,
    artifacts.value,
    0.0 as null_value,
    'mean' as summary
from artifacts
inner join runs using (run)
left join permuted using (arm, feature, formula)
