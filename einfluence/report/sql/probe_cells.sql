-- grain: one row a cell of $base worth naming: the $most that each probe helped most and hurt most in each arm, and its named relations
with
influence as (select * from influence),
relations as (select * from relations),
report_probes as (select * from report_probes),
cells as (
    select
        influence.estimator,
        influence.recipe,
        influence.probe_id,
        influence.query_id,
        avg(influence.influence) as influence,
        avg(influence.logprob_before) as before,
        avg(influence.logprob_after) as after
    from influence
    inner join report_probes on influence.probe_id = report_probes.probe_id
    where influence.base = $base
    group by influence.estimator, influence.recipe, influence.probe_id, influence.query_id
),
ranked as (
    select
        *,
        row_number() over (partition by estimator, recipe, probe_id order by influence desc, query_id) as helped,
        row_number() over (partition by estimator, recipe, probe_id order by influence, query_id) as hurt
    from cells
),
claims as (
    select
        relations.probe_id,
        relations.query_id,
        relations.kind,
        row_number() over (partition by relations.probe_id order by relations.kind = 'self' desc, relations.kind, relations.query_id) as place
    from relations
    inner join report_probes on relations.probe_id = report_probes.probe_id
    where relations.kind is not null and relations.kind <> 'unrelated'
),
named as (select * from claims where place <= 24)
select
    ranked.estimator,
    ranked.recipe,
    ranked.probe_id,
    ranked.query_id,
    named.kind,
    ranked.influence,
    ranked.before,
    ranked.after,
    ranked.helped <= $most and ranked.influence > 0 as is_helped,
    ranked.hurt <= $most and ranked.influence < 0 as is_hurt
from ranked
left join named on ranked.probe_id = named.probe_id and ranked.query_id = named.query_id
where named.kind is not null or (ranked.helped <= $most and ranked.influence > 0) or (ranked.hurt <= $most and ranked.influence < 0)
order by ranked.estimator, ranked.recipe, ranked.probe_id, ranked.influence desc, ranked.query_id
