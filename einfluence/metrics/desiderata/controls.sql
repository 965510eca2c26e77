-- One row a (run, control probe): how much does training on something beside the point move all else?
with controls as (
    select * from mart_controls
)

select
    run,
    probe,
    control || ': nats' as variant,
    'nats' as formula,
    control as kind,
    size as value,
    cast(null as double) as null_value,
    0.0 as ideal,
    'median' as summary
from controls
