-- One row a (run, probe, variant): did the probe learn itself?
with samples as (
    select * from mart_samples
)

select
    run,
    probe,
    'learned' as variant,
    case when isfinite(self_influence) then cast(learned as double) end as value,
    0.5 as null_value,
    1.0 as ideal,
    'mean' as summary
from samples

union all

select
    run,
    probe,
    'nats' as variant,
    self_influence as value,
    0.0 as null_value,
    cast(null as double) as ideal,
    'median' as summary
from samples
