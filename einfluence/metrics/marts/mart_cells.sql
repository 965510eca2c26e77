-- One row a wanted cell of the probes $low up to $high (exclusive), with its relation and the probe's self-influence.
create or replace temp table mart_cells as
with cells as (
    select * from stg_cells
    where probe >= $low and probe < $high
),

relations as (
    select
        relations.probe,
        relations.query,
        any_value(kinds.kind) as kind,
        any_value(relations.distance) as distance
    from stg_relations as relations
    left join stg_kinds as kinds on relations.kind = kinds.number
    where probe >= $low and probe < $high
    group by relations.probe, relations.query
),

own as (
    select
        probes.probe,
        queries.query
    from stg_probes as probes
    inner join stg_queries as queries on probes.probe = queries.as_probe
),

self as (
    select
        cells.run,
        cells.probe,
        cells.influence as self_influence
    from cells
    inner join own using (probe, query)
)

select
    cells.run,
    cells.probe,
    cells.query,
    cells.influence,
    relations.distance,
    self.self_influence,
    case when own.query is null then relations.kind else 'self' end as kind
from cells
inner join relations using (probe, query)
left join own using (probe, query)
left join self using (run, probe)
