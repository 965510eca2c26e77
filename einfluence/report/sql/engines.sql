-- grain: one row an arm, engine that trained probes of it and reason why a faster one was passed over
with
outcomes as (select * from outcomes)

select
    base,
    estimator,
    recipe,
    engine,
    fallback,
    count(distinct probe_id) as probes,
    max(noise_rms) filter (where isfinite(noise_rms)) as noise_rms
from outcomes
where status = 'done'
group by all
order by base asc, estimator asc, recipe asc, probes desc, engine asc, fallback asc
