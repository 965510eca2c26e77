-- grain: one row an arm, probe and query: the mean over seeds
create or replace temp table report_cells as
with
influence as (select * from influence),

report_arms as (select * from report_arms),

report_probes as (select * from report_probes),

report_queries as (select * from report_queries),

coded as (
    select
        report_arms.arm,
        report_probes.probe,
        report_queries.query,
        influence.seed,
        influence.influence,
        influence.logprob_before
    from influence
    inner join report_arms
        on
            influence.base = report_arms.base
            and influence.estimator = report_arms.estimator
            and influence.recipe = report_arms.recipe
    inner join report_probes on influence.probe_id = report_probes.probe_id
    inner join report_queries on influence.query_id = report_queries.query_id
)

select
    arm,
    probe,
    query,
    avg(influence)::float as influence,
    avg(logprob_before)::float as logprob_before,
    count(*) as seeds
from coded
group by arm, probe, query
