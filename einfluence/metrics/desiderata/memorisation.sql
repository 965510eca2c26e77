-- One row a (run, probe of one sample of a training set, variant): what does the model owe to having seen this sample?
with samples as (
    select
        *,
        cast(nats > 0 and class_held_out < 0 as double) as memorised
    from mart_memorisation
),

clean as (
    select
        run,
        avg(memorised) as memorised
    from samples
    where not mislabelled
    group by run
)

select
    run,
    probe,
    'nats' as variant,
    'nats' as formula,
    cast(null as varchar) as kind,
    'neither' as better,
    nats as value,
    null_nats as null_value,
    cast(null as double) as ideal,
    'mean' as summary
from samples

union all

select
    run,
    probe,
    'decision' as variant,
    'decision' as formula,
    cast(null as varchar) as kind,
    'neither' as better,
    decision as value,
    null_decision as null_value,
    cast(null as double) as ideal,
    'mean' as summary
from samples
where decision is not null

union all

select
    run,
    probe,
    'group' as variant,
    'group' as formula,
    cast(null as varchar) as kind,
    'neither' as better,
    class_held_out as value,
    0.0 as null_value,
    cast(null as double) as ideal,
    'mean' as summary
from samples
where class_held_out is not null

union all

-- Kounavis: what helps itself and harms its own class elsewhere is memorised.
select
    run,
    probe,
    'sign' as variant,
    'sign' as formula,
    cast(null as varchar) as kind,
    'neither' as better,
    memorised as value,
    cast(null as double) as null_value,
    cast(null as double) as ideal,
    'mean' as summary
from samples
where class_held_out is not null

union all

select
    samples.run,
    samples.probe,
    'sign, mislabelled' as variant,
    'sign' as formula,
    'mislabelled' as kind,
    'neither' as better,
    samples.memorised as value,
    clean.memorised as null_value,
    cast(null as double) as ideal,
    'mean' as summary
from samples
inner join clean using (run)
where samples.mislabelled and samples.class_held_out is not null
