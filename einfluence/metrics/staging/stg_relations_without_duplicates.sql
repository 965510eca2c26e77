-- One row a wanted pair again: copies that agree count once, copies that disagree claim nothing (and are counted).
create or replace temp table stg_relations as
with relations as (
    select * from stg_relations
),

duplicates as (
    select * from stg_duplicated_relations
)

select
    relations.probe,
    relations.query,
    relations.kind,
    relations.distance
from relations
anti join duplicates using (probe, query)

union all

select
    probe,
    query,
    case when not disagree then kind end as kind,
    case when not disagree then distance end as distance
from duplicates
