-- One row a (run, probe, variant): does it tell a statement from its negation?
with samples as (
    select * from mart_samples
),

claims as (
    select
        run,
        probe,
        median(influence) filter (where kind = 'paraphrase') as paraphrase,
        median(influence) filter (where kind = 'negation') as negation,
        avg(case when influence < 0 then 1.0 when influence = 0 then 0.5 else 0.0 end) filter (where kind = 'negation')
            as below_zero
    from mart_claims
    where kind in ('paraphrase', 'negation')
    group by run, probe
),

joined as (
    select
        samples.run,
        samples.probe,
        samples.learned,
        samples.strength,
        claims.paraphrase,
        claims.negation,
        claims.below_zero
    from samples
    left join claims using (run, probe)
    where samples.modality = 'text' or claims.negation is not null
)

select
    run,
    probe,
    'contrast' as variant,
    case
        when learned then (paraphrase - negation) / nullif(abs(paraphrase) + abs(negation), 0)
    end as value,
    0.0 as null_value,
    1.0 as ideal,
    'mean' as summary
from joined

union all

select
    run,
    probe,
    'P(negation < 0)' as variant,
    case when learned then below_zero end as value,
    0.5 as null_value,
    1.0 as ideal,
    'mean' as summary
from joined

union all

select
    run,
    probe,
    'score' as variant,
    negation / strength as value,
    0.0 as null_value,
    -1.0 as ideal,
    'median' as summary
from joined

union all

select
    run,
    probe,
    'nats' as variant,
    case when learned then negation end as value,
    0.0 as null_value,
    cast(null as double) as ideal,
    'median' as summary
from joined
