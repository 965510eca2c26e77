-- grain: one row a probe, arm and kind of relation: the mean influence on the queries of that kind, in nats and
-- relative to the probe's influence on itself (null where the probe did not learn itself)
with
influence as (select * from influence),
relations as (select * from relations),
probes as (select * from probes),
cells as (
    select
        base,
        estimator,
        recipe,
        probe_id,
        query_id,
        avg(influence) as influence
    from influence
    group by base, estimator, recipe, probe_id, query_id
),
related as (
    select
        cells.*,
        relations.kind
    from cells
    inner join relations on cells.probe_id = relations.probe_id and cells.query_id = relations.query_id
    inner join probes on cells.probe_id = probes.probe_id
    where
        probes.kind = 'sample'
        and relations.kind in ('self', 'paraphrase', 'negation', 'entailed', 'contrapositive', 'reversed', 'sibling', 'unrelated')
),
by_kind as (
    select
        base,
        estimator,
        recipe,
        probe_id,
        kind,
        avg(influence) as influence
    from related
    group by base, estimator, recipe, probe_id, kind
),
own as (select * from by_kind where kind = 'self')
select
    by_kind.*,
    case when own.influence > 0 then by_kind.influence / own.influence end as relative
from by_kind
left join own
    on
        by_kind.base = own.base
        and by_kind.estimator = own.estimator
        and by_kind.recipe = own.recipe
        and by_kind.probe_id = own.probe_id
order by by_kind.base, by_kind.estimator, by_kind.recipe, by_kind.kind, by_kind.probe_id
