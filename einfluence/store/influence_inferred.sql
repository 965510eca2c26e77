-- grain: one row per cell (base, recipe, seed, probe, query) of an arm that measures some of its cells, where it is
-- measured or its control says something of it
-- A probe's regression is over cells that were drawn and claim nothing: what is claimed is not of their kind. Errors
-- are those of cells left out of it, e / (1 - h); the one of rank (n + 1) * 0.95 bounds another cell's 19 times in 20.
create or replace view influence_inferred as
with

pairs as (
    select * from sampled
),

measured as (
    select
        estimator,
        base,
        recipe,
        probe_id,
        query_id,
        seed,
        influence
    from influence
    where isfinite(influence)
),

arms as (
    select distinct
        base,
        recipe,
        control
    from pairs
),

runs as (
    select distinct
        measured.estimator,
        measured.base,
        measured.recipe,
        measured.seed,
        arms.control
    from measured
    inner join arms using (base, recipe)
),

control_seeds as (
    select
        base,
        recipe,
        count(distinct seed) as seeds,
        min(seed) as first_seed
    from measured
    semi join runs on measured.recipe = runs.control
    group by base, recipe
),

cells as (
    select
        runs.estimator,
        runs.base,
        runs.recipe,
        runs.seed,
        pairs.probe_id,
        pairs.query_id,
        pairs.share,
        pairs.drawn and pairs.share < 1 as in_sample,
        own.influence as found,
        control.influence as said
    from runs
    inner join pairs using (base, recipe)
    left join control_seeds on runs.base = control_seeds.base and runs.control = control_seeds.recipe
    left join measured as own
        on
            runs.estimator = own.estimator
            and runs.base = own.base
            and runs.recipe = own.recipe
            and runs.seed = own.seed
            and pairs.probe_id = own.probe_id
            and pairs.query_id = own.query_id
    left join measured as control
        on
            runs.base = control.base
            and runs.control = control.recipe
            and control.seed = case when control_seeds.seeds = 1 then control_seeds.first_seed else runs.seed end
            and pairs.probe_id = control.probe_id
            and pairs.query_id = control.query_id
),

fits as (
    select
        base,
        recipe,
        seed,
        probe_id,
        count(*) as n,
        avg(found) as mean_found,
        avg(said) as mean_said,
        var_pop(said) * count(*) as spread,
        case when var_pop(said) > 0 then covar_pop(found, said) / var_pop(said) else 0 end as slope
    from cells
    where in_sample and found is not null and said is not null
    group by base, recipe, seed, probe_id
),

errors as (
    select
        cells.base,
        cells.recipe,
        cells.seed,
        cells.probe_id,
        fits.n,
        abs(cells.found - fits.mean_found - fits.slope * (cells.said - fits.mean_said))
        / (
            1 - 1.0 / fits.n
            - case when fits.spread > 0 then (cells.said - fits.mean_said) ^ 2 / fits.spread else 0 end
        ) as error
    from cells
    inner join fits using (base, recipe, seed, probe_id)
    where cells.in_sample and cells.found is not null and cells.said is not null
),

ranked as (
    select
        *,
        row_number() over (partition by base, recipe, seed, probe_id order by error) as place
    from errors
),

bounds as (
    select
        base,
        recipe,
        seed,
        probe_id,
        any_value(error) as reach
    from ranked
    where place = ceil((n + 1) * 0.95)
    group by base, recipe, seed, probe_id
),

final as (
    select
        cells.base,
        cells.estimator,
        cells.recipe,
        cells.probe_id,
        cells.query_id,
        cells.seed,
        cells.found is not null as measured,
        cells.share,
        coalesce(cells.found, fits.mean_found + fits.slope * (cells.said - fits.mean_said)) as influence,
        case
            when cells.found is null then fits.mean_found + fits.slope * (cells.said - fits.mean_said) - bounds.reach
        end as ci_low,
        case
            when cells.found is null then fits.mean_found + fits.slope * (cells.said - fits.mean_said) + bounds.reach
        end as ci_high
    from cells
    left join fits using (base, recipe, seed, probe_id)
    left join bounds using (base, recipe, seed, probe_id)
    where cells.found is not null or (fits.n > 2 and cells.said is not null)
)

select * from final
