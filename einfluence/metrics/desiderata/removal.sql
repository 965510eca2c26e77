-- One row a (run, query, variant): what did training without the samples that influence names do to a query that they
-- were not chosen on, what was it predicted to do, and do the two order the queries alike?
with removals as (
    select
        *,
        which || printf(' %g%%', 100 * share) as name
    from mart_removal
),

drawn as (
    select
        run,
        query,
        variant,
        kind,
        level,
        avg(value) as change
    from mart_control_draws
    where desideratum = 'removal'
    group by all
),

-- Of the other queries that differ from it in both, the share in the same order minus that in the opposite one.
agreements as (
    select
        one.run,
        one.query,
        one.name,
        any_value(one.which) as which,
        any_value(one.share) as share,
        avg(sign((one.change - other.change) * (one.predicted - other.predicted))) as agreement
    from removals as one
    inner join removals as other using (run, name)
    where one.change <> other.change and one.predicted <> other.predicted
    group by one.run, one.query, one.name
)

select
    run,
    query,
    name || ': nats' as variant,
    'nats' as formula,
    which as kind,
    share as level,
    'neither' as better,
    change as value,
    at_random as null_value,
    cast(null as double) as ideal,
    'mean' as summary
from removals

union all

select
    run,
    query,
    variant,
    'nats' as formula,
    kind,
    level,
    'neither' as better,
    change as value,
    0.0 as null_value,
    cast(null as double) as ideal,
    'mean' as summary
from drawn

union all

select
    run,
    query,
    name || ': predicted' as variant,
    'predicted' as formula,
    which as kind,
    share as level,
    'neither' as better,
    predicted as value,
    cast(null as double) as null_value,
    cast(null as double) as ideal,
    'mean' as summary
from removals
where predicted is not null

union all

select
    run,
    query,
    name || ': kendall' as variant,
    'kendall' as formula,
    which as kind,
    share as level,
    cast(null as varchar) as better,
    agreement as value,
    0.0 as null_value,
    1.0 as ideal,
    'mean' as summary
from agreements
