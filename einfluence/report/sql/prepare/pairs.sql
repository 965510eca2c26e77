-- grain: one row a wanted pair of a probe and a query that both have cells
create or replace temp table report_pairs as
with
relations as (select * from relations),

report_probes as (select * from report_probes),

report_queries as (select * from report_queries)

select
    report_probes.probe,
    report_queries.query,
    relations.kind,
    case when isfinite(relations.distance) then relations.distance end as distance
from relations
inner join report_probes on relations.probe_id = report_probes.probe_id
inner join report_queries on relations.query_id = report_queries.query_id
