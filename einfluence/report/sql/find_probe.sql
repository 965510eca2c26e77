-- grain: one row a probe that is called $name, or whose id begins with it
with
probes as (select * from probes)

select
    probe_id,
    name,
    kind
from probes
where name = $name or starts_with(probe_id, $name)
order by name, probe_id
