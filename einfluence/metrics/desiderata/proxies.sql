-- One row a (run, sample of a training set, variant): does what one training says of a sample tell what it owes to
-- itself? Of the other samples that differ from it in both, the share in the same order minus that in the opposite one.
with samples as (
    select * from mart_memorisation
    where nats is not null and logprob is not null
),

candidates as (
    select
        run,
        probe,
        nats,
        unnest(['log-prob', 'rank']) as kind,
        unnest([-logprob, cast(rank as double)]) as proxy
    from samples
),

compared as (
    select
        one.run,
        one.probe,
        one.kind,
        avg(sign((one.nats - other.nats) * (one.proxy - other.proxy))) as agreement
    from candidates as one
    inner join candidates as other using (run, kind)
    where one.nats <> other.nats and one.proxy <> other.proxy
    group by one.run, one.probe, one.kind
)

select
    run,
    probe,
    kind || ': kendall' as variant,
    'kendall' as formula,
    kind,
    agreement as value,
    0.0 as null_value,
    1.0 as ideal,
    'mean' as summary
from compared
