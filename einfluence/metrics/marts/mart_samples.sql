-- One row a (run, probe of kind sample): the candidates of most desiderata, with the self-influence that scores divide by.
create or replace temp table mart_samples as
with probes as (
    select * from stg_probes
    where kind = 'sample'
),

measured as (
    select * from mart_probes
),

runs as (
    select * from stg_runs
),

controls as (
    select
        measured.run,
        median(measured.median_size) as control_size
    from measured
    inner join stg_probes as probes using (probe)
    where probes.kind = 'control'
    group by measured.run
)

select
    measured.*,
    runs.arm,
    runs.modality,
    controls.control_size,
    measured.self_influence > 0 as learned,
    case when measured.self_influence > 0 then measured.self_influence end as strength
from measured
inner join probes using (probe)
inner join runs using (run)
left join controls using (run)
