-- One row a (run, bundle of two premises, variant): do both together teach more than the sum of what each teaches?
with bundles as (
    select
        probes.probe,
        probes.probe_id
    from stg_probes as probes
    where probes.kind = 'bundle' and probes.n_members = 2
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
        run,
        probe,
        avg(case when n_parts = 2 then joint - apart end) as synergy,
        avg(case when n_parts = 2 then joint - better end) as gain,
        avg(joint) as joint
    from single
    group by run, probe
),

mirrored as (
    select
        forward.probe,
        backward.probe as mirror
    from parts as forward
    inner join parts as second on forward.probe = second.probe and forward.position < second.position
    inner join parts as backward
        on forward.part = backward.part and forward.position <> backward.position and forward.probe < backward.probe
    inner join parts as last
        on second.part = last.part and backward.probe = last.probe and second.position <> last.position
)

select
    run,
    probe,
    'synergy' as variant,
    synergy as value,
    0.0 as null_value,
    cast(null as double) as ideal,
    'median' as summary
from averaged

union all

select
    run,
    probe,
    'gain over the better premise' as variant,
    gain as value,
    0.0 as null_value,
    cast(null as double) as ideal,
    'median' as summary
from averaged

union all

select
    one.run,
    one.probe,
    'effect of order' as variant,
    abs(one.joint - other.joint) as value,
    cast(null as double) as null_value,
    0.0 as ideal,
    'median' as summary
from mirrored
inner join averaged as one using (probe)
inner join averaged as other on mirrored.mirror = other.probe and one.run = other.run
