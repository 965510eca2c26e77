-- One row a (run, probe, variant): does it teach the same fact in other words?
with samples as (
    select * from mart_samples
),

paraphrases as (
    select
        run,
        probe,
        median(influence) as influence
    from mart_claims
    where kind = 'paraphrase'
    group by run, probe
),

joined as (
    select
        samples.*,
        paraphrases.influence
    from samples
    left join paraphrases using (run, probe)
    where samples.modality = 'text' or paraphrases.influence is not null
)

select
    run,
    probe,
    'score' as variant,
    influence / strength as value,
    coalesce(unrelated_influence, 0) / strength as null_value,
    1.0 as ideal,
    'median' as summary
from joined

union all

select
    run,
    probe,
    'nats' as variant,
    case when learned then influence end as value,
    coalesce(unrelated_influence, 0) as null_value,
    cast(null as double) as ideal,
    'median' as summary
from joined
