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
),

-- Every probe is asked about every fifth that its run has; one without queries in it is left out and counted.
asked as (
    select distinct
        run,
        bin
    from bins
),

fifths as (
    select
        samples.run,
        samples.probe,
        samples.learned,
        samples.strength,
        asked.bin,
        bins.size,
        means.size as mean_size
    from samples
    inner join asked using (run)
    left join bins using (run, probe, bin)
    left join means using (run, probe)
)

select
    run,
    probe,
    'spearman' as variant,
    'spearman' as formula,
    cast(null as integer) as level,
    'ladder' as rule,
    case when learned then -correlation end as value,
    0.0 as null_value,
    ideal_decay as learner,
    1.0 as ideal,
    'mean' as summary
from samples

union all

select
    run,
    probe,
    'fifth ' || bin as variant,
    'score' as formula,
    bin as level,
    cast(null as varchar) as rule,
    size / strength as value,
    mean_size / strength as null_value,
    cast(null as double) as learner,
    cast(null as double) as ideal,
    'median' as summary
from fifths

union all

select
    run,
    probe,
    'nats, fifth ' || bin as variant,
    'nats' as formula,
    bin as level,
    cast(null as varchar) as rule,
    case when learned then size end as value,
    case when learned then mean_size end as null_value,
    cast(null as double) as learner,
    cast(null as double) as ideal,
    'median' as summary
from fifths
