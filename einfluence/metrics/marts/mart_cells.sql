-- One row a wanted cell of the probes $low up to $high (exclusive), with its relation.
create or replace temp table mart_cells as
with cells as (
    select
        run,
        probe,
        query,
        influence,
        log_odds,
        first_before,
        first_after
    from stg_cells
    where probe >= $low and probe < $high
),

relations as (
    select * from stg_relations
    where probe >= $low and probe < $high
),

kinds as (
    select * from stg_kinds
),

samples as (
    select * from stg_samples
),

own as (
    select * from stg_own_relations
    where probe >= $low and probe < $high
)

select
    cells.run,
    cells.probe,
    cells.query,
    cells.influence,
    cells.log_odds,
    cells.first_before,
    cells.first_after,
    case when own.run is not null then own.distance else relations.distance end as distance,
    case
        when samples.own_query is not null then 'self'
        when own.run is not null then own.kind
        else kinds.kind
    end as kind
from cells
inner join relations using (probe, query)
left join kinds on relations.kind = kinds.number
left join samples on cells.probe = samples.probe and cells.query = samples.own_query
left join own on cells.run = own.run and cells.probe = own.probe and cells.query = own.query
