-- One row a (ensemble of a run, unit, position in the set): a unit is a probe that is summed over, a sample by itself
-- or a group of which one is no probe by itself. An ensemble whose set is not covered by the run's probes has no row.
create or replace temp table mart_units as
with ensembles as (
    select * from mart_ensembles
),

members as (
    select * from training_set_members
),

measured as (
    select distinct
        cells.run,
        probes.probe,
        probes.probe_id
    from stg_cells as cells
    inner join stg_probes as probes using (probe)
    inner join ensembles using (run)
    where is_example(probes.kind) or probes.kind = 'bundle'
),

sizes as (
    select
        probe_id,
        count(*) as n_members
    from probe_members
    group by probe_id
),

placed as (
    select
        ensembles.ensemble,
        ensembles.training_set,
        measured.probe,
        sizes.n_members,
        members.position,
        count(*) over (partition by ensembles.ensemble, measured.probe) as n_inside
    from ensembles
    inner join measured using (run)
    inner join sizes using (probe_id)
    inner join probe_members using (probe_id)
    inner join members
        on ensembles.training_set = members.training_set and probe_members.sample_id = members.sample_id
),

inside as (
    select
        *,
        bool_or(n_members = 1) over (partition by ensemble, position) as stands_alone
    from placed
    where n_inside = n_members
),

units as (
    select
        *,
        bool_or(not stands_alone) over (partition by ensemble, probe) as counts
    from inside
),

kept as (
    select * from units
    where n_members = 1 or counts
),

covered as (
    select
        ensemble,
        training_set,
        count(distinct position) as n_covered
    from kept
    group by ensemble, training_set
),

whole as (
    select covered.ensemble
    from covered
    inner join training_sets using (training_set)
    where covered.n_covered = training_sets.samples
)

select distinct
    kept.ensemble,
    kept.probe,
    kept.position
from kept
semi join whole using (ensemble)
