-- One row a (run, probe, variant): influence as a share of what the probe, or both sides, do to themselves.
with rows as (
    select
        run,
        probe,
        case kind when 'entailed' then 'conclusion' else kind end as kind,
        over_probe,
        over_both
    from mart_relative
    semi join mart_samples using (run, probe)
),

unrelated as (
    select
        run,
        probe,
        over_probe,
        over_both
    from rows
    where kind = 'unrelated'
),

compared as (
    select
        rows.*,
        case when rows.kind <> 'unrelated' then coalesce(unrelated.over_probe, 0) end as null_over_probe,
        case when rows.kind <> 'unrelated' then coalesce(unrelated.over_both, 0) end as null_over_both
    from rows
    left join unrelated using (run, probe)
)

select
    run,
    probe,
    kind || ': probe' as variant,
    'probe' as formula,
    kind,
    'neither' as better,
    over_probe as value,
    null_over_probe as null_value,
    cast(null as double) as ideal,
    'median' as summary
from compared

union all

select
    run,
    probe,
    kind || ': both' as variant,
    'both' as formula,
    kind,
    case when kind in ('paraphrase', 'negation', 'conclusion', 'contrapositive') then null else 'neither' end as better,
    over_both as value,
    null_over_both as null_value,
    case
        when kind in ('paraphrase', 'conclusion', 'contrapositive') then 1.0
        when kind = 'negation' then -1.0
        when kind = 'unrelated' then 0.0
    end as ideal,
    'median' as summary
from compared
