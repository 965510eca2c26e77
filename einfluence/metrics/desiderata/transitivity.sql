-- One row a (run, probe, variant): does it teach what follows from it?
with samples as (
    select * from mart_samples
),

claims as (
    select * from mart_claims
    where kind in ('entailed', 'sibling')
),

medians as (
    select
        run,
        probe,
        median(influence) filter (where kind = 'entailed') as entailed,
        median(influence) filter (where kind = 'sibling') as sibling
    from claims
    group by run, probe
),

wins as (
    select
        entailed.run,
        entailed.probe,
        avg(
            case
                when entailed.influence > sibling.influence then 1.0
                when entailed.influence = sibling.influence then 0.5
                else 0.0
            end
        ) as share
    from claims as entailed
    inner join claims as sibling
        on
            entailed.run = sibling.run
            and entailed.probe = sibling.probe
            and entailed.kind = 'entailed'
            and sibling.kind = 'sibling'
    group by all
),

depths as (
    select
        run,
        probe,
        cast(level as integer) as depth,
        median(influence) as entailed
    from claims
    where kind = 'entailed' and level between 0 and 1000
    group by all
),

-- Every probe is asked about every depth that its run has; one without such a conclusion is left out and counted.
asked as (
    select distinct
        run,
        depth
    from depths
),

joined as (
    select
        samples.*,
        medians.entailed,
        medians.sibling,
        wins.share
    from samples
    left join medians using (run, probe)
    left join wins using (run, probe)
    where samples.modality = 'text' or medians.entailed is not null
)

select
    run,
    probe,
    'P(entailed > sibling)' as variant,
    'P(entailed > sibling)' as formula,
    cast(null as integer) as level,
    case when learned then share end as value,
    0.5 as null_value,
    1.0 as ideal,
    'mean' as summary
from joined

union all

select
    run,
    probe,
    'score' as variant,
    'score' as formula,
    cast(null as integer) as level,
    entailed / strength as value,
    coalesce(sibling, unrelated_influence, 0) / strength as null_value,
    1.0 as ideal,
    'median' as summary
from joined

union all

select
    run,
    probe,
    'nats' as variant,
    'nats' as formula,
    cast(null as integer) as level,
    case when learned then entailed end as value,
    coalesce(sibling, unrelated_influence, 0) as null_value,
    cast(null as double) as ideal,
    'median' as summary
from joined

union all

select
    joined.run,
    joined.probe,
    'score, depth ' || asked.depth as variant,
    'score' as formula,
    asked.depth as level,
    depths.entailed / joined.strength as value,
    coalesce(joined.sibling, joined.unrelated_influence, 0) / joined.strength as null_value,
    1.0 as ideal,
    'median' as summary
from joined
inner join asked using (run)
left join depths using (run, probe, depth)
