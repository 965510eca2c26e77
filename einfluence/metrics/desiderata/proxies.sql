-- One row a (run, sample of a training set, variant): does what one training says of a sample tell what it memorised?
-- The product of the sample's two standardised ranks, whose mean over samples is Spearman's correlation.
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

ranked as (
    select
        run,
        probe,
        kind,
        rank() over one + (count(*) over (one range between current row and current row) - 1) / 2.0 as nats_rank,
        rank() over two + (count(*) over (two range between current row and current row) - 1) / 2.0 as proxy_rank
    from candidates
    window
        one as (partition by run, kind order by nats),
        two as (partition by run, kind order by proxy)
),

standard as (
    select
        run,
        probe,
        kind,
        (nats_rank - avg(nats_rank) over alike) / nullif(stddev_pop(nats_rank) over alike, 0) as nats_rank,
        (proxy_rank - avg(proxy_rank) over alike) / nullif(stddev_pop(proxy_rank) over alike, 0) as proxy_rank
    from ranked
    window alike as (partition by run, kind)
)

select
    run,
    probe,
    kind || ': spearman' as variant,
    'spearman' as formula,
    kind,
    nats_rank * proxy_rank as value,
    0.0 as null_value,
    1.0 as ideal,
    'mean' as summary
from standard
