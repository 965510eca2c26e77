-- grain: one row a probe, arm and kind of relation: the median influence on the queries of that kind (on a chat's own
-- answers the mean), in nats and relative to that on itself (null where the probe did not learn itself)
with
report_arms as (select * from report_arms),

report_cells as (select * from report_cells),

report_probes as (select * from report_probes),

by_kind as (
    select
        report_cells.arm,
        report_cells.probe,
        report_cells.kind,
        case
            when report_cells.kind = 'self' then avg(report_cells.influence)
            else median(report_cells.influence)
        end as influence
    from report_cells
    inner join report_probes on report_cells.probe = report_probes.probe
    where
        is_example(report_probes.kind)
        and report_cells.kind in (
            'self', 'paraphrase', 'negation', 'entailed', 'contrapositive', 'reversed', 'sibling'
        )
    group by report_cells.arm, report_cells.probe, report_cells.kind
),

own as (select * from by_kind where kind = 'self')

select
    report_arms.base,
    report_arms.estimator,
    report_arms.recipe,
    report_probes.probe_id,
    report_probes.cluster,
    by_kind.kind,
    by_kind.influence,
    case when own.influence > 0 then by_kind.influence / own.influence end as relative
from by_kind
inner join report_arms on by_kind.arm = report_arms.arm
inner join report_probes on by_kind.probe = report_probes.probe
left join own on by_kind.arm = own.arm and by_kind.probe = own.probe
order by by_kind.arm, by_kind.kind, report_probes.probe_id
