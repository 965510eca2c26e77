-- grain: one row an arm: its cells, and how many probes, queries and seeds it has
with
report_cells as (select * from report_cells)

select
    arm,
    sum(seeds)::bigint as cells,
    count(distinct probe) as probes,
    count(distinct query) as queries,
    max(seeds) as seeds
from report_cells
group by arm
