-- grain: one row a query that has cells
create or replace temp table report_queries as
with
influence as (select * from influence),

measured as (select distinct query_id from influence)

select
    query_id,
    (row_number() over (order by query_id))::integer as query
from measured
