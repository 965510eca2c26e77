-- One row a (run, mislabelled sample, variant): which share of the well labelled does a ranking put behind it?
-- The mean over the mislabelled is the area under the ROC curve.
with samples as (
    select * from mart_memorisation
    where mislabelled is not null
),

rankings as (
    select
        run,
        probe,
        mislabelled,
        unnest(['memorisation', 'group', 'log-prob']) as kind,
        unnest([nats, -class_held_out, -logprob]) as suspicion
    from samples
),

known as (
    select * from rankings
    where suspicion is not null
),

-- How many of either stand at or below each place, ties half.
placed as (
    select
        *,
        sum(cast(not mislabelled as integer)) over below - 0.5 * sum(cast(not mislabelled as integer)) over alike
            as n_behind,
        sum(cast(not mislabelled as integer)) over (partition by run, kind) as n_clean
    from known
    window
        below as (
            partition by run, kind order by suspicion range between unbounded preceding and current row
        ),
        alike as (partition by run, kind order by suspicion range between current row and current row)
)

select
    run,
    probe,
    kind || ': auc' as variant,
    'auc' as formula,
    kind,
    n_behind / nullif(n_clean, 0) as value,
    0.5 as null_value,
    1.0 as ideal,
    'mean' as summary
from placed
where mislabelled
