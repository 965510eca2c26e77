-- grain: one row a probe that was tried: it has cells, or failed
create or replace temp table report_probes as
with
influence as (select * from influence),

outcomes as (select * from outcomes),

probes as (select * from probes),

measured as (
    select distinct probe_id from influence
    union
    select distinct probe_id from outcomes
)

select
    measured.probe_id,
    probes.kind,
    (row_number() over (order by measured.probe_id))::integer as probe
from measured
inner join probes on measured.probe_id = probes.probe_id
