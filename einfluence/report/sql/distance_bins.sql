-- grain: one row an arm and tenth of the distances: mean |influence| over probes (self left out), with standard error
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
        and report_probes.kind = 'sample'
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
),

by_bin as (
    select
        arm,
        bin,
        avg(distance) as distance,
        avg(size) as size,
        coalesce(stddev_samp(size), 0) / sqrt(count(*)) as standard_error,
        count(*) as probes,
        sum(cells)::bigint as cells
    from by_probe
    group by arm, bin
)

select
    report_arms.base,
    report_arms.estimator,
    report_arms.recipe,
    by_bin.*
from by_bin
inner join report_arms on by_bin.arm = report_arms.arm
order by by_bin.arm, by_bin.bin
