-- One row a (run, probe, variant): does it tell the contrapositive, which follows, from the reverse, which does not?
with samples as (
    select * from mart_samples
),

claims as (
    select
        run,
        probe,
        median(influence) filter (where kind = 'contrapositive') as contrapositive,
        median(influence) filter (where kind = 'reversed') as reverse
    from mart_claims
    where kind in ('contrapositive', 'reversed')
    group by run, probe
),

joined as (
    select
        samples.*,
        claims.contrapositive,
        claims.reverse
    from samples
    left join claims using (run, probe)
    where samples.modality = 'text' or (claims.contrapositive is not null and claims.reverse is not null)
)

select
    run,
    probe,
    'contrast' as variant,
    'contrast' as formula,
    cast(null as varchar) as kind,
    case
        when learned then (contrapositive - reverse) / nullif(abs(contrapositive) + abs(reverse), 0)
    end as value,
    0.0 as null_value,
    1.0 as ideal,
    'mean' as summary
from joined

union all

select
    run,
    probe,
    'reversed score' as variant,
    'score' as formula,
    'reversed' as kind,
    reverse / strength as value,
    coalesce(unrelated_influence, 0) / strength as null_value,
    0.0 as ideal,
    'median' as summary
from joined

union all

select
    run,
    probe,
    'nats' as variant,
    'nats' as formula,
    cast(null as varchar) as kind,
    case when learned then contrapositive - reverse end as value,
    0.0 as null_value,
    cast(null as double) as ideal,
    'median' as summary
from joined
