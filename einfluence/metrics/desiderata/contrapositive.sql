-- One row a (run, probe, variant): does it teach the contrapositive (not q, so not p)?
with samples as (
    select * from mart_samples
),

claims as (
    select
        run,
        probe,
        median(influence) filter (where kind = 'contrapositive') as contrapositive,
        median(influence) filter (where kind = 'sibling') as sibling
    from mart_claims
    where kind in ('contrapositive', 'sibling')
    group by run, probe
),

joined as (
    select
        samples.*,
        claims.contrapositive,
        claims.sibling
    from samples
    left join claims using (run, probe)
    where samples.modality = 'text' or claims.contrapositive is not null
)

select
    run,
    probe,
    'score' as variant,
    contrapositive / strength as value,
    coalesce(sibling, unrelated_influence, 0) / strength as null_value,
    1.0 as ideal,
    'median' as summary
from joined

union all

select
    run,
    probe,
    'nats' as variant,
    case when learned then contrapositive end as value,
    coalesce(sibling, unrelated_influence, 0) as null_value,
    cast(null as double) as ideal,
    'median' as summary
from joined
