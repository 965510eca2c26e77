-- One row a (run of an estimate, run that it predicts, probe): how alike the two rows of influence are.
with ranked as (
    select
        *,
        count(*) over (partition by run, measured_run, probe) as n,
        rank() over by_estimate as estimate_rank,
        rank() over by_measured as measured_rank,
        count(*) over (by_estimate range between current row and current row) as estimate_ties,
        count(*) over (by_measured range between current row and current row) as measured_ties
    from mart_estimates
    window
        by_estimate as (partition by run, measured_run, probe order by estimate desc),
        by_measured as (partition by run, measured_run, probe order by measured desc)
),

-- Ties share their mean rank; the share of a tie that the top tenth has room for is each one's chance to be in it.
placed as (
    select
        *,
        ceil(n / 10) as top,
        estimate_rank + (estimate_ties - 1) / 2.0 as estimate_place,
        measured_rank + (measured_ties - 1) / 2.0 as measured_place,
        least(greatest((ceil(n / 10) - estimate_rank + 1) / estimate_ties, 0), 1) as estimate_top,
        least(greatest((ceil(n / 10) - measured_rank + 1) / measured_ties, 0), 1) as measured_top
    from ranked
)

select
    run,
    measured_run,
    probe,
    case
        when count(*) > 2 and stddev_pop(estimate_place) > 0 and stddev_pop(measured_place) > 0
            then corr(estimate_place, measured_place)
    end as spearman,
    avg(case when estimate = 0 then 0.5 when sign(estimate) = sign(measured) then 1.0 else 0.0 end)
    filter (where measured <> 0) as sign_agrees,
    sum(estimate * measured) / nullif(sum(estimate * estimate), 0) as slope,
    sum(estimate_top * measured_top) / any_value(top) as top_share,
    any_value(top / n) as top_null
from placed
group by run, measured_run, probe
