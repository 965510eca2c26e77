-- grain: one row an arm and reason that probes of it failed for, the most frequent first
with
outcomes as (select * from outcomes)

select
    base,
    estimator,
    recipe,
    coalesce(nullif(trim(reason), ''), 'no reason was noted') as reason,
    count(distinct probe_id) as probes
from outcomes
where status <> 'done'
group by all
order by base asc, estimator asc, recipe asc, probes desc, reason asc
