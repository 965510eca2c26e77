-- One row a run of an estimate and a run of the intervention that it predicts, on the same base.
-- They share their seed. An estimate of one seed alone (nothing is drawn), or of a seed that the intervention lacks, is
-- held against all of the intervention's.
create or replace temp table stg_estimates as
with runs as (
    select * from stg_runs
),

estimates as (
    select
        run,
        base,
        seed,
        unit,
        stands_for,
        count(*) over (partition by arm) as n_seeds
    from runs
    where stands_for is not null
),

paired as (
    select
        estimates.run,
        estimates.unit,
        interventions.run as measured_run,
        estimates.n_seeds,
        estimates.seed = interventions.seed as same_seed,
        bool_or(estimates.seed = interventions.seed) over (partition by estimates.run) as has_same_seed
    from estimates
    inner join runs as interventions
        on
            estimates.base = interventions.base
            and estimates.stands_for = interventions.recipe
    where interventions.unit is null
)

select
    run,
    measured_run,
    unit
from paired
where n_seeds = 1 or same_seed or not has_same_seed
