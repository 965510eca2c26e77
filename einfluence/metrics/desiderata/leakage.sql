-- One row a (run, probe, variant): how much does it move what has nothing to do with it?
with samples as (
    select * from mart_samples
)

select
    run,
    probe,
    'score' as variant,
    -- From as much as itself, what is unrelated must come under what may be left, whatever training on anything moves.
    1.0 as start,
    'left' as rule,
    cast(null as varchar) as better,
    unrelated_size / strength as value,
    control_size / strength as null_value,
    0.0 as ideal,
    'median' as summary
from samples

union all

select
    run,
    probe,
    'nats' as variant,
    cast(null as double) as start,
    cast(null as varchar) as rule,
    'neither' as better,
    case when learned then unrelated_size end as value,
    control_size as null_value,
    0.0 as ideal,
    'median' as summary
from samples
