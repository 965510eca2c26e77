-- One row a (run, probe of one training example): the candidates of most desiderata; scores divide by `strength`.
create or replace temp table mart_samples as
with probes as (
    select * from stg_probes
    where is_example(kind)
),

others as (
    select * from stg_own_probes
    where not is_example(kind)
),

measured as (
    select * from mart_probes
),

runs as (
    select * from stg_runs
),

decay as (
    select * from mart_decay
),

learners as (
    select * from mart_learners
),

controls as (
    select
        run,
        median(size) as control_size
    from mart_controls
    group by run
)

select
    measured.*,
    decay.placed_sum,
    decay.correlation,
    learners.asked,
    learners.ideal_decay,
    learners.ideal_gini,
    learners.ideal_participation,
    runs.arm,
    runs.modality,
    controls.control_size,
    measured.self_influence > 0 as learned,
    case when measured.self_influence > 0 then measured.self_influence end as strength
from measured
inner join probes using (probe)
inner join runs using (run)
anti join others on measured.run = others.run and measured.probe = others.probe
left join decay using (run, probe)
left join learners using (run, probe)
left join controls using (run)
