-- One row a (run, probe, variant): what does it do to the odds of the target, and to what the model would answer?
with samples as (
    select * from mart_samples
),

decisions as (
    select
        decided.run,
        decided.probe,
        case decided.kind when 'entailed' then 'conclusion' else decided.kind end as kind,
        case when samples.learned then decided.log_odds end as log_odds,
        case when samples.learned then decided.gained end as gained,
        case when samples.learned then decided.lost end as lost,
        decided.gained is not null as may_gain,
        decided.lost is not null as may_lose
    from mart_classification as decided
    inner join samples using (run, probe)
)

select
    run,
    probe,
    kind || ': log-odds' as variant,
    'log-odds' as formula,
    kind,
    'neither' as better,
    log_odds as value,
    case when kind <> 'self' then 0.0 end as null_value,  -- itself was raised, or it would not count
    cast(null as double) as ideal,
    'median' as summary
from decisions

union all

select
    run,
    probe,
    kind || ': gained' as variant,
    'gained' as formula,
    kind,
    'neither' as better,
    gained as value,
    cast(null as double) as null_value,
    cast(null as double) as ideal,
    'mean' as summary
from decisions
where may_gain

union all

select
    run,
    probe,
    kind || ': lost' as variant,
    'lost' as formula,
    kind,
    'neither' as better,
    lost as value,
    cast(null as double) as null_value,
    cast(null as double) as ideal,
    'mean' as summary
from decisions
where may_lose
