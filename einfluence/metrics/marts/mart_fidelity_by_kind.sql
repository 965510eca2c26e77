-- One row a (run of an estimate, run that it predicts, probe, kind of relation): where both place the kind's queries
-- among the probe's unrelated ones. Pairs that were measured equal have no order to agree with.
with related as (
    select * from mart_estimates
    where kind is not null and kind <> 'unrelated'
),

unrelated as (
    select * from mart_estimates
    where kind = 'unrelated'
),

pairs as (
    select
        related.run,
        related.measured_run,
        related.probe,
        related.kind,
        sign(related.estimate - unrelated.estimate) as estimated_order,
        sign(related.measured - unrelated.measured) as measured_order
    from related
    inner join unrelated using (run, measured_run, probe)
)

select
    run,
    measured_run,
    probe,
    kind,
    avg((1 + estimated_order * measured_order) / 2) filter (where measured_order <> 0) as agreement,
    avg(estimated_order - measured_order) / 2 as shift
from pairs
group by run, measured_run, probe, kind
