-- grain: one row an arm and tenth of the distances: mean |influence| over probes (self excluded), with its standard error over probes
with
influence as (select * from influence),
relations as (select * from relations),
probes as (select * from probes),
cells as (
    select
        influence.base,
        influence.estimator,
        influence.recipe,
        influence.probe_id,
        relations.distance,
        abs(avg(influence.influence)) as size
    from influence
    inner join relations on influence.probe_id = relations.probe_id and influence.query_id = relations.query_id
    inner join probes on influence.probe_id = probes.probe_id
    where relations.distance is not null and probes.kind = 'sample' and relations.kind is distinct from 'self'
    group by influence.base, influence.estimator, influence.recipe, influence.probe_id, influence.query_id, relations.distance
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
        base,
        estimator,
        recipe,
        bin,
        probe_id,
        avg(size) as size,
        avg(distance) as distance,
        count(*) as cells
    from binned
    where bin is not null
    group by base, estimator, recipe, bin, probe_id
)
select
    base,
    estimator,
    recipe,
    bin,
    avg(distance) as distance,
    avg(size) as size,
    coalesce(stddev_samp(size), 0) / sqrt(count(*)) as standard_error,
    count(*) as probes,
    sum(cells)::bigint as cells
from by_probe
group by base, estimator, recipe, bin
order by base, estimator, recipe, bin
