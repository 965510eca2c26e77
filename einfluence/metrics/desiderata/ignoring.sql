-- One row a (run, held-out query, variant): what did training with learned weights do to a query, beside the same
-- weights shuffled over the samples?
with changes as (
    select * from mart_ignoring
),

gains as (
    select
        run,
        query,
        nullif(concat_ws(', ', case when is_learned_on then 'learned on' end, setting), '') as kind,
        avg(change) filter (where method = 'learned') as gain,
        avg(change) filter (where method = 'shuffled') as shuffled
    from changes
    group by all
),

named as (
    select
        run,
        query,
        kind,
        'gain' as formula,
        gain as value,
        shuffled as null_value
    from gains

    union all

    select
        run,
        query,
        kind,
        'shuffled' as formula,
        shuffled as value,
        0.0 as null_value
    from gains
    where shuffled is not null
)

select
    run,
    query,
    concat_ws(', ', formula, kind) as variant,
    formula,
    kind,
    'neither' as better,
    value,
    null_value,
    cast(null as double) as ideal,
    'mean' as summary
from named
