-- One row a (run of an estimate, run that it predicts, query from $low up to $high, exclusive): how alike the two
-- columns of influence are, over the probes but for that of the query itself.
with estimates as (
    select * from stg_estimates
),

samples as (
    select * from stg_samples
),

cells as (
    select
        estimates.run,
        estimates.measured_run,
        estimated.query,
        estimated.influence as estimate,
        measured.influence as measured
    from estimates
    inner join stg_cells as estimated  -- all cells: a CTE of them that is read twice would be written out
        on
            estimates.run = estimated.run
            and estimated.query >= $low
            and estimated.query < $high
    inner join stg_cells as measured  -- all cells: a CTE of them that is read twice would be written out
        on
            estimates.measured_run = measured.run
            and estimated.probe = measured.probe
            and estimated.query = measured.query
    semi join samples on estimated.probe = samples.probe
    anti join samples as own on estimated.probe = own.probe and estimated.query = own.own_query
    semi join stg_relations as relations on estimated.probe = relations.probe and estimated.query = relations.query
),

ranked as (
    select
        *,
        rank() over by_estimate
        + (count(*) over (by_estimate range between current row and current row) - 1) / 2.0 as estimate_place,
        rank() over by_measured
        + (count(*) over (by_measured range between current row and current row) - 1) / 2.0 as measured_place
    from cells
    window
        by_estimate as (partition by run, measured_run, query order by estimate),
        by_measured as (partition by run, measured_run, query order by measured)
)

select
    run,
    measured_run,
    query,
    count(*) as n,
    case
        when count(*) > 2 and stddev_pop(estimate_place) > 0 and stddev_pop(measured_place) > 0
            then corr(estimate_place, measured_place)
    end as spearman
from ranked
group by run, measured_run, query
