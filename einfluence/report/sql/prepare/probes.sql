-- grain: one row a probe that was tried: it has cells, or failed
-- `cluster` is the number of what is drawn together in intervals; a probe whose members are unknown is one of its own.
create or replace temp table report_probes as
with
influence as (select * from influence),

outcomes as (select * from outcomes),

probes as (select * from probes),

report_clusters as (select * from report_clusters),

measured as (
    select distinct probe_id from influence
    union
    select distinct probe_id from outcomes
)

select
    measured.probe_id,
    probes.kind,
    coalesce(report_clusters.cluster, -(row_number() over (order by measured.probe_id))) as cluster,
    (row_number() over (order by measured.probe_id))::integer as probe
from measured
inner join probes on measured.probe_id = probes.probe_id
left join report_clusters on measured.probe_id = report_clusters.probe_id
