-- One row a (run, probe, variant): how much of what the probe taught is lost when one place's change is undone?
with restored as (
    select
        restorations.run,
        restorations.probe,
        restorations.place,
        restorations.layer,
        case when own.run is not null then own.kind else relations.kind end as said,
        case
            when samples.own_query is not null then 'self'
            when said = 'entailed' then 'conclusion'
            else said
        end as claim,
        restorations.logprob_after - restorations.logprob_before as influence,
        restorations.logprob_after - restorations.logprob_restored as lost
    from stg_restorations as restorations
    inner join relations using (probe_id, query_id)
    inner join stg_probes as probes using (probe)
    left join stg_samples as samples
        on restorations.probe = samples.probe and restorations.query = samples.own_query
    left join stg_own_relations as own
        on restorations.run = own.run and restorations.probe = own.probe and restorations.query = own.query
    left join stg_own_probes as called on restorations.run = called.run and restorations.probe = called.probe
    where
        is_example(coalesce(called.kind, probes.kind))
        and isfinite(restorations.logprob_after - restorations.logprob_before)
        and isfinite(restorations.logprob_restored)
),

-- Several paraphrases or conclusions of one probe count together: what all of them lost, of what all of them gained.
summed as (
    select
        run,
        probe,
        place,
        layer,
        claim,
        avg(influence) as influence,
        avg(lost) as lost
    from restored
    where claim in ('self', 'paraphrase', 'negation', 'conclusion')
    group by run, probe, place, layer, claim
),

learned as (
    select
        run,
        probe
    from mart_samples
    where learned
),

updates as (
    select
        runs.run,
        probes.probe,
        coalesce('layer ' || updates.layer, 'outside the layers') as place,
        sum(updates.update_norm * updates.update_norm) as square
    from layer_updates as updates
    inner join stg_runs as runs using (estimator, base, recipe, seed)
    inner join stg_probes as probes using (probe_id)
    where isfinite(updates.update_norm)
    group by all
),

shares as (
    select
        run,
        probe,
        place,
        square / nullif(sum(square) over (partition by run, probe), 0) as share
    from updates
),

-- A share can be lost only of something: probes that did not learn themselves, or taught a claim nothing, are left out.
compared as (
    select
        summed.run,
        summed.probe,
        summed.place,
        summed.layer,
        summed.claim,
        shares.share,
        case when learned.probe is not null then summed.lost end as lost,
        case
            when learned.probe is not null and summed.influence > 0 then summed.lost / summed.influence
        end as lost_share
    from summed
    left join learned using (run, probe)
    left join shares using (run, probe, place)
)

select
    run,
    probe,
    place || ': ' || claim as variant,
    'share' as formula,
    claim as kind,
    place,
    layer,
    lost_share as value,
    share as null_value,
    cast(null as double) as ideal,
    'median' as summary
from compared

union all

select
    run,
    probe,
    place || ': ' || claim || ', nats' as variant,
    'nats' as formula,
    claim as kind,
    place,
    layer,
    lost as value,
    0.0 as null_value,
    cast(null as double) as ideal,
    'median' as summary
from compared
