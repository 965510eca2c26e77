-- One row a (run, probe, variant): is what i does to j what j does to i? The ratio is taken of the sums over probes.
with pairs as (
    select
        run,
        probe,
        class,
        sum(n_pairs) as n_pairs,
        sum(numerator) as numerator,
        sum(denominator) as denominator
    from mart_pairs
    group by run, probe, class
)

select
    run,
    probe,
    case class when 'all' then 'phi' else 'phi, ' || class end as variant,
    'phi' as formula,
    nullif(class, 'all') as kind,
    'neither' as better,
    numerator as value,
    denominator as weight,
    0.5 as null_value,
    case when class = 'paraphrase' then 0.0 end as ideal,
    'ratio' as summary
from pairs
