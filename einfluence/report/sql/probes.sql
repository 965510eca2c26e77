-- grain: one row a probe with cells in $base, the clean ones first; at most $most of them
with
influence as (select * from influence),
probes as (select * from probes),
probe_members as (select * from probe_members),
measured as (select distinct probe_id from influence where base = $base),
members as (
    select
        probe_id,
        list(sample_id order by position) as members
    from probe_members
    group by probe_id
)
select
    probes.probe_id,
    probes.name,
    probes.kind,
    members.members
from measured
inner join probes on measured.probe_id = probes.probe_id
inner join members on probes.probe_id = members.probe_id
order by probes.kind = 'noisy', probes.kind = 'control', probes.name, probes.probe_id
limit $most
