-- grain: one row a probe of $base that stands in the heat map: all but the noisy ones, by domain, cluster and name
with
report_arms as (select * from report_arms),

report_cells as (select * from report_cells),

report_probes as (select * from report_probes),

probes as (select * from probes),

probe_members as (select * from probe_members),

samples as (select * from samples),

measured as (
    select distinct report_cells.probe
    from report_cells
    inner join report_arms on report_cells.arm = report_arms.arm
    where report_arms.base = $base
),

first_member as (select * from probe_members where position = 0),

described as (
    select
        measured.probe,
        probes.probe_id,
        probes.name,
        probes.kind,
        first_member.sample_id,
        coalesce(samples.domain, '') as domain,
        coalesce(samples.cluster, '') as cluster
    from measured
    inner join report_probes on measured.probe = report_probes.probe
    inner join probes on report_probes.probe_id = probes.probe_id
    left join first_member on probes.probe_id = first_member.probe_id
    left join samples on first_member.sample_id = samples.sample_id
    where probes.kind <> 'noisy'
)

select
    *,
    (row_number() over (order by kind = 'control', domain, cluster, kind, name, probe_id) - 1)::integer as row_index
from described
order by row_index
