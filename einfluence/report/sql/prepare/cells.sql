-- grain: one row an arm, probe and query, with their relation: the mean over seeds
-- An arm of one seed needs no grouping, which would take most of the time. Influence that is no number is not there.
create or replace temp table report_cells as
with
influence as (select * from influence),

report_arms as (select * from report_arms),

report_probes as (select * from report_probes),

report_queries as (select * from report_queries),

report_pairs as (select * from report_pairs),

-- What an arm's own parts say of a pair, where that is something else.
own as (
    select
        report_arms.arm,
        report_probes.probe,
        report_queries.query,
        arm_relations.kind,
        case when isfinite(arm_relations.distance) then arm_relations.distance end as distance
    from arm_relations
    inner join report_arms on arm_relations.base = report_arms.base and arm_relations.recipe = report_arms.recipe
    inner join report_probes on arm_relations.probe_id = report_probes.probe_id
    inner join report_queries on arm_relations.query_id = report_queries.query_id
),

coded as (
    select
        report_arms.arm,
        report_arms.several,
        report_probes.probe,
        report_queries.query,
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
    where isfinite(influence.influence)
),

cells as (
    select
        arm,
        probe,
        query,
        influence::float as influence,
        logprob_before::float as logprob_before,
        1::bigint as seeds
    from coded
    where not several

    union all

    select
        arm,
        probe,
        query,
        avg(influence)::float as influence,
        avg(logprob_before)::float as logprob_before,
        count(*) as seeds
    from coded
    where several
    group by arm, probe, query
)

select
    cells.*,
    case when own.arm is not null then own.kind else report_pairs.kind end as kind,
    case when own.arm is not null then own.distance else report_pairs.distance end as distance
from cells
left join report_pairs on cells.probe = report_pairs.probe and cells.query = report_pairs.query
left join own on cells.arm = own.arm and cells.probe = own.probe and cells.query = own.query
