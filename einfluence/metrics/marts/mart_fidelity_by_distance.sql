-- One row a (run of an estimate, run that it predicts, probe, fifth of its queries by distance, 1 = nearest): the rank
-- correlation within that fifth.
with placed as (
    select
        *,
        rank() over near + (count(*) over (near range between current row and current row) - 1) / 2.0 as distance_rank,
        count(*) over (partition by run, measured_run, probe) as n_counting
    from mart_estimates
    where distance is not null
    window near as (partition by run, measured_run, probe order by distance)
),

binned as (
    select
        run,
        measured_run,
        probe,
        estimate,
        measured,
        cast(least(floor((distance_rank - 0.5) * 5 / n_counting) + 1, 5) as integer) as bin
    from placed
),

ranked as (
    select
        *,
        rank() over by_estimate
        + (count(*) over (by_estimate range between current row and current row) - 1) / 2.0 as estimate_place,
        rank() over by_measured
        + (count(*) over (by_measured range between current row and current row) - 1) / 2.0 as measured_place
    from binned
    window
        by_estimate as (partition by run, measured_run, probe, bin order by estimate),
        by_measured as (partition by run, measured_run, probe, bin order by measured)
)

select
    run,
    measured_run,
    probe,
    bin,
    case
        when count(*) > 2 and stddev_pop(estimate_place) > 0 and stddev_pop(measured_place) > 0
            then corr(estimate_place, measured_place)
    end as spearman
from ranked
group by run, measured_run, probe, bin
