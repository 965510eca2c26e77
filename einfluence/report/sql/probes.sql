-- grain: one row a probe that was tried on $base, the clean ones first; at most $most of them
with
report_arms as (select * from report_arms),

report_cells as (select * from report_cells),

report_probes as (select * from report_probes),

outcomes as (select * from outcomes),

probes as (select * from probes),

probe_members as (select * from probe_members),

measured as (
    select distinct report_cells.probe
    from report_cells
    inner join report_arms on report_cells.arm = report_arms.arm
    where report_arms.base = $base

    union

    select report_probes.probe
    from outcomes
    inner join report_probes on outcomes.probe_id = report_probes.probe_id
    where outcomes.base = $base
),

members as (
    select
        probe_id,
        list(sample_id order by position) as members
    from probe_members
    group by probe_id
)

select
    measured.probe,
    probes.probe_id,
    probes.name,
    probes.kind,
    members.members
from measured
inner join report_probes on measured.probe = report_probes.probe
inner join probes on report_probes.probe_id = probes.probe_id
inner join members on probes.probe_id = members.probe_id
order by probes.kind = 'noisy', probes.kind = 'control', probes.name, probes.probe_id
limit $most
