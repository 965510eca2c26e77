-- One row a (run, pair of premises, variant): do both, together or in turn, teach more than each alone?
with bundles as (
    select
        probes.probe,
        probes.probe_id,
        probes.kind,
        case when probes.kind = 'sequence' then 'in turn' else 'together' end as way,
        case when probes.kind = 'sequence' then ', in turn' else '' end as suffix
    from stg_probes as probes
    where probes.kind in ('bundle', 'sequence') and probes.n_members = 2
),

parts as (
    select
        bundles.probe,
        members.position,
        queries.as_probe as part
    from bundles
    inner join probe_members as members using (probe_id)
    inner join stg_queries as queries on members.sample_id = queries.query_id
),

conclusions as (
    select
        claims.run,
        claims.probe,
        claims.query,
        claims.influence
    from mart_claims as claims
    inner join bundles using (probe)
    where claims.kind = 'entailed'
),

single as (
    select
        conclusions.run,
        conclusions.probe,
        conclusions.query,
        any_value(conclusions.influence) as joint,
        count(cells.influence) as n_parts,
        sum(cells.influence) as apart,
        max(cells.influence) as better
    from conclusions
    inner join parts using (probe)
    left join stg_cells as cells
        on
            parts.part = cells.probe
            and conclusions.run = cells.run
            and conclusions.query = cells.query
    group by all
),

averaged as (
    select
        single.run,
        single.probe,
        bundles.way,
        bundles.suffix,
        avg(case when single.n_parts = 2 then single.joint - single.apart end) as synergy,
        avg(case when single.n_parts = 2 then single.joint - single.better end) as gain,
        avg(single.joint) as joint
    from single
    inner join bundles using (probe)
    group by single.run, single.probe, bundles.way, bundles.suffix
),

-- A pair's premises, whatever their order, and which of them comes first.
pairs as (
    select
        bundles.probe,
        bundles.kind,
        min(parts.part) as low,
        max(parts.part) as high,
        arg_min(parts.part, parts.position) as first_part
    from bundles
    inner join parts using (probe)
    group by bundles.probe, bundles.kind
    having count(parts.part) = 2
),

mirrored as (
    select
        forward.probe,
        backward.probe as mirror
    from pairs as forward
    inner join pairs as backward using (kind, low, high)
    where forward.first_part <> backward.first_part and forward.probe < backward.probe
),

-- What training together teaches: the mean of both orders, where both were measured.
together as (
    select
        averaged.run,
        pairs.low,
        pairs.high,
        avg(averaged.joint) as joint
    from averaged
    inner join pairs using (probe)
    where pairs.kind = 'bundle'
    group by averaged.run, pairs.low, pairs.high
)

select
    run,
    probe,
    'synergy' || suffix as variant,
    'synergy' as formula,
    way as kind,
    'higher' as better,
    synergy as value,
    0.0 as null_value,
    cast(null as double) as ideal,
    'median' as summary
from averaged

union all

select
    run,
    probe,
    'gain over the better premise' || suffix as variant,
    'gain over the better premise' as formula,
    way as kind,
    'higher' as better,
    gain as value,
    0.0 as null_value,
    cast(null as double) as ideal,
    'median' as summary
from averaged

union all

select
    one.run,
    one.probe,
    'effect of order' || one.suffix as variant,
    'effect of order' as formula,
    one.way as kind,
    cast(null as varchar) as better,
    abs(one.joint - other.joint) as value,
    cast(null as double) as null_value,
    0.0 as ideal,
    'median' as summary
from mirrored
inner join averaged as one using (probe)
inner join averaged as other on mirrored.mirror = other.probe and one.run = other.run

union all

select
    averaged.run,
    averaged.probe,
    'in turn beyond together' as variant,
    'beyond together' as formula,
    'in turn' as kind,
    'higher' as better,
    averaged.joint - together.joint as value,
    0.0 as null_value,
    cast(null as double) as ideal,
    'median' as summary
from averaged
inner join pairs using (probe)
inner join together using (run, low, high)
where pairs.kind = 'sequence'
