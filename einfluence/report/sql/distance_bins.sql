-- grain: one row an arm, tenth of the distances and probe: its mean |influence| there (itself left out)
with
report_arms as (select * from report_arms),

report_cells as (select * from report_cells),

report_probes as (select * from report_probes),

cells as (
    select
        report_arms.base,
        report_cells.arm,
        report_cells.probe,
        report_cells.distance,
        abs(report_cells.influence) as size
    from report_cells
    inner join report_probes on report_cells.probe = report_probes.probe
    inner join report_arms on report_cells.arm = report_arms.arm
    where
        report_cells.distance is not null
        and is_example(report_probes.kind)
        and report_cells.kind is distinct from 'self'
),

ends as (
    select
        base,
        min(distance) as nearest,
        max(distance) as farthest
    from cells
    group by base
),

binned as (
    select
        cells.*,
        least(9, floor(10 * (cells.distance - ends.nearest) / nullif(ends.farthest - ends.nearest, 0)))::integer as bin
    from cells
    inner join ends on cells.base = ends.base
),

by_probe as (
    select
        arm,
        bin,
        probe,
        avg(size) as size,
        avg(distance) as distance,
        count(*) as cells
    from binned
    where bin is not null
    group by arm, bin, probe
)

select
    report_arms.base,
    report_arms.estimator,
    report_arms.recipe,
    by_probe.bin,
    by_probe.size,
    by_probe.distance,
    by_probe.cells,
    report_probes.cluster
from by_probe
inner join report_arms on by_probe.arm = report_arms.arm
inner join report_probes on by_probe.probe = report_probes.probe
order by by_probe.arm, by_probe.bin, by_probe.probe
