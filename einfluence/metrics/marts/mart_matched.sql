-- One row a (grid of recipes, desideratum, variant, probe): the probe's value where it learned itself by so many nats.
-- Interpolated between the recipes on either side, linearly in the logarithm of the probe's influence on itself.
with scores as (
    select * from mart_scores
    where
        desideratum not in (
            'gate', 'layers', 'controls', 'prompt_rescue', 'reliability', 'fidelity', 'fragility', 'memorisation',
            'lds', 'mislabelled', 'duplicates', 'proxies'
        )
        and summary not in ('ratio', 'quotient')
        and probe is not null
),

grids as (
    select
        arm,
        number,
        ln(nats) as dose
    from mart_grids
),

strengths as (
    select
        arm,
        probe,
        ln(value) as strength
    from mart_scores
    where desideratum = 'gate' and variant = 'nats' and value > 0
),

-- Where the probe stands in the grid, whatever the desideratum: from below the dose to above it, or not.
reached as (
    select
        grids.number,
        strengths.probe,
        bool_or(strengths.strength <= grids.dose) and bool_or(strengths.strength >= grids.dose) as reached
    from strengths
    inner join grids using (arm)
    group by grids.number, strengths.probe
),

-- Recipes by which a probe learned itself equally well count with their mean.
points as (
    select
        grids.number,
        scores.desideratum,
        scores.variant,
        scores.probe,
        strengths.strength,
        any_value(scores.cluster) as cluster,
        any_value(scores.domain) as domain,
        any_value(scores.summary) as summary,
        any_value(scores.ideal) as ideal,
        any_value(grids.dose) as dose,
        any_value(scores.learner) as learner,
        case when min(scores.asked) = max(scores.asked) then min(scores.asked) end as asked,
        avg(scores.value) as value,
        avg(scores.null_value) as null_value
    from scores
    inner join grids using (arm)
    left join strengths using (arm, probe)
    group by grids.number, scores.desideratum, scores.variant, scores.probe, strengths.strength
),

ends as (
    select
        number,
        desideratum,
        variant,
        probe,
        any_value(cluster) as cluster,
        any_value(domain) as domain,
        any_value(summary) as summary,
        any_value(ideal) as ideal,
        any_value(dose) as dose,
        any_value(learner) as learner,
        case when min(asked) = max(asked) then min(asked) end as asked,
        max(strength) filter (where value is not null and strength <= dose) as low,
        min(strength) filter (where value is not null and strength >= dose) as high,
        arg_max(value, strength) filter (where strength <= dose) as value_low,
        arg_min(value, strength) filter (where strength >= dose) as value_high,
        max(strength) filter (where null_value is not null and strength <= dose) as null_from,
        min(strength) filter (where null_value is not null and strength >= dose) as null_to,
        arg_max(null_value, strength) filter (where strength <= dose) as null_low,
        arg_min(null_value, strength) filter (where strength >= dose) as null_high
    from points
    group by number, desideratum, variant, probe
)

select
    ends.number as arm,
    ends.desideratum,
    ends.variant,
    ends.probe,
    ends.cluster,
    ends.domain,
    ends.summary,
    ends.ideal,
    case
        when ends.low = ends.high then ends.value_low
        else ends.value_low + (ends.value_high - ends.value_low) * (ends.dose - ends.low) / (ends.high - ends.low)
    end as value,
    cast(null as double) as weight,
    case
        when ends.null_from = ends.null_to then ends.null_low
        else
            ends.null_low
            + (ends.null_high - ends.null_low) * (ends.dose - ends.null_from) / (ends.null_to - ends.null_from)
    end as null_value,
    ends.learner,
    ends.asked,
    coalesce(reached.reached, false) as learned
from ends
left join reached using (number, probe)
order by ends.number, ends.desideratum, ends.variant, ends.probe
