-- One row a (run of an estimate, probe or query, variant): does it say what the training that it stands for does?
-- Where it is held against several seeds of the training, their mean.
with estimates as (
    select distinct
        run,
        unit
    from stg_estimates
),

ceilings as (
    select
        run as measured_run,
        probe,
        ceiling
    from mart_ceilings
),

probes as (
    select
        rows.run,
        rows.probe,
        any_value(estimates.unit) as unit,
        avg(rows.spearman) as spearman,
        avg(rows.sign_agrees) as sign_agrees,
        avg(rows.slope) as slope,
        avg(rows.top_share) as top_share,
        avg(rows.top_null) as top_null,
        avg(rows.spearman) filter (where ceilings.ceiling is not null) as below_ceiling,
        avg(ceilings.ceiling) filter (where rows.spearman is not null) as ceiling
    from mart_fidelity as rows
    inner join estimates using (run)
    left join ceilings using (measured_run, probe)
    group by rows.run, rows.probe
),

with_ceiling as (
    select distinct run
    from probes
    where ceiling is not null
),

kinds as (
    select
        run,
        probe,
        case kind when 'entailed' then 'conclusion' else kind end as kind,
        avg(agreement) as agreement,
        avg(shift) as shift
    from mart_fidelity_by_kind
    group by run, probe, kind
),

bins as (
    select
        run,
        probe,
        bin,
        avg(spearman) as spearman
    from mart_fidelity_by_distance
    group by run, probe, bin
),

queries as (
    select
        run,
        query,
        avg(spearman) as spearman
    from mart_fidelity_by_query
    group by run, query
)

select
    run,
    probe,
    cast(null as integer) as query,
    'spearman' as variant,
    'spearman' as formula,
    cast(null as varchar) as kind,
    cast(null as integer) as level,
    cast(null as varchar) as better,
    spearman as value,
    cast(null as double) as weight,
    0.0 as null_value,
    1.0 as ideal,
    'mean' as summary
from probes

union all

select
    run,
    cast(null as integer) as probe,
    query,
    'spearman by query' as variant,
    'spearman by query' as formula,
    cast(null as varchar) as kind,
    cast(null as integer) as level,
    cast(null as varchar) as better,
    spearman as value,
    cast(null as double) as weight,
    0.0 as null_value,
    1.0 as ideal,
    'mean' as summary
from queries

union all

select
    run,
    probe,
    cast(null as integer) as query,
    'of the ceiling' as variant,
    'of the ceiling' as formula,
    cast(null as varchar) as kind,
    cast(null as integer) as level,
    cast(null as varchar) as better,
    below_ceiling as value,
    ceiling as weight,
    0.0 as null_value,
    1.0 as ideal,
    'quotient' as summary
from probes
semi join with_ceiling using (run)

union all

select
    run,
    probe,
    cast(null as integer) as query,
    'top tenth' as variant,
    'top tenth' as formula,
    cast(null as varchar) as kind,
    cast(null as integer) as level,
    cast(null as varchar) as better,
    top_share as value,
    cast(null as double) as weight,
    top_null as null_value,
    1.0 as ideal,
    'mean' as summary
from probes

union all

select
    run,
    probe,
    cast(null as integer) as query,
    'sign' as variant,
    'sign' as formula,
    cast(null as varchar) as kind,
    cast(null as integer) as level,
    cast(null as varchar) as better,
    sign_agrees as value,
    cast(null as double) as weight,
    0.5 as null_value,
    1.0 as ideal,
    'mean' as summary
from probes
where unit is null

union all

select
    run,
    probe,
    cast(null as integer) as query,
    'slope' as variant,
    'slope' as formula,
    cast(null as varchar) as kind,
    cast(null as integer) as level,
    'neither' as better,
    slope as value,
    cast(null as double) as weight,
    cast(null as double) as null_value,
    1.0 as ideal,
    'median' as summary
from probes
where unit is null

union all

select
    run,
    probe,
    cast(null as integer) as query,
    kind || ': order' as variant,
    'order' as formula,
    kind,
    cast(null as integer) as level,
    cast(null as varchar) as better,
    agreement as value,
    cast(null as double) as weight,
    0.5 as null_value,
    1.0 as ideal,
    'mean' as summary
from kinds

union all

select
    run,
    probe,
    cast(null as integer) as query,
    kind || ': too high' as variant,
    'too high' as formula,
    kind,
    cast(null as integer) as level,
    'neither' as better,
    shift as value,
    cast(null as double) as weight,
    cast(null as double) as null_value,
    0.0 as ideal,
    'mean' as summary
from kinds

union all

select
    run,
    probe,
    cast(null as integer) as query,
    'spearman, fifth ' || bin as variant,
    'spearman' as formula,
    cast(null as varchar) as kind,
    bin as level,
    cast(null as varchar) as better,
    spearman as value,
    cast(null as double) as weight,
    0.0 as null_value,
    1.0 as ideal,
    'mean' as summary
from bins
