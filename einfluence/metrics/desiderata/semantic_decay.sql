-- One row a (run, probe, variant): does the size of influence fall with semantic distance?
with samples as (
    select * from mart_samples
),

bins as (
    select * from mart_bins
),

means as (
    select
        run,
        probe,
        avg(size) as size
    from bins
    group by run, probe
)

select
    run,
    probe,
    'spearman' as variant,
    case when learned then -correlation end as value,
    0.0 as null_value,
    1.0 as ideal,
    'mean' as summary
from samples

union all

select
    samples.run,
    samples.probe,
    'fifth ' || bins.bin as variant,
    bins.size / samples.strength as value,
    means.size / samples.strength as null_value,
    cast(null as double) as ideal,
    'median' as summary
from samples
inner join bins using (run, probe)
inner join means using (run, probe)

union all

select
    samples.run,
    samples.probe,
    'nats, fifth ' || bins.bin as variant,
    case when samples.learned then bins.size end as value,
    case when samples.learned then means.size end as null_value,
    cast(null as double) as ideal,
    'median' as summary
from samples
inner join bins using (run, probe)
inner join means using (run, probe)
