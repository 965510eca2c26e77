-- One row a kind of relation, numbered.
create or replace temp table stg_kinds as
with relations as (
    select distinct kind from relations
)

select
    kind,
    cast(row_number() over (order by kind) as utinyint) as number
from relations
where kind is not null
