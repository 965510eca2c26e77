-- grain: one row an estimate and cell (means over seeds) beside what was measured: of each estimate of the base $base
-- the $worst farthest from the line of best fit, the farthest being 1, and $most chosen at random
with
recipes as (select * from recipes),

means as (
    select
        estimator,
        recipe,
        probe_id,
        query_id,
        avg(influence) as influence
    from influence
    where base = $base and isfinite(influence)
    group by estimator, recipe, probe_id, query_id
),

own as (
    select
        probe_id,
        sample_id as query_id
    from probe_members
),

pairs as (
    select
        estimated.estimator,
        estimated.recipe,
        estimated.probe_id,
        estimated.query_id,
        estimated.influence as estimate,
        measured.influence as measured
    from means as estimated
    inner join recipes on estimated.recipe = recipes.recipe
    inner join means as measured
        on
            recipes.stands_for = measured.recipe
            and estimated.probe_id = measured.probe_id
            and estimated.query_id = measured.query_id
    semi join probes on estimated.probe_id = probes.probe_id and is_example(probes.kind)
    anti join own on estimated.probe_id = own.probe_id and estimated.query_id = own.query_id
),

fitted as (
    select
        recipe,
        coalesce(regr_slope(measured, estimate), 0) as slope,
        avg(measured) - coalesce(regr_slope(measured, estimate), 0) * avg(estimate) as start
    from pairs
    group by recipe
),

apart as (
    select
        pairs.*,
        fitted.slope,
        fitted.start,
        pairs.measured - fitted.start - fitted.slope * pairs.estimate as residual
    from pairs
    inner join fitted using (recipe)
),

placed as (
    select
        *,
        row_number() over (
            partition by recipe order by abs(residual) desc, probe_id asc, query_id asc
        ) as place,
        row_number() over (
            partition by recipe order by hash(probe_id || query_id), probe_id, query_id
        ) as turn
    from apart
),

chosen as (
    select *
    from placed
    where place <= $worst or turn <= $most
),

claims as (
    select
        probe_id,
        query_id,
        any_value(nullif(kind, 'unrelated')) as kind
    from relations
    group by probe_id, query_id
)

select
    chosen.estimator,
    chosen.recipe,
    chosen.estimate,
    chosen.measured,
    chosen.slope,
    chosen.start,
    case when chosen.place <= $worst then chosen.place end as worst,
    case claims.kind when 'entailed' then 'conclusion' else claims.kind end as kind,
    probes.name as probe,
    samples.name,
    samples.modality,
    samples.prompt,
    samples.target,
    samples.label,
    samples.label_name
from chosen
inner join probes on chosen.probe_id = probes.probe_id
inner join samples on chosen.query_id = samples.sample_id
left join claims on chosen.probe_id = claims.probe_id and chosen.query_id = claims.query_id
order by chosen.recipe, chosen.place
