-- One row an arm with wanted pairs of its probes that have no cell. What only another part of the study wants is not
-- wanted of it.
with runs as (
    select * from stg_runs
),

probes as (
    select
        probe_id,
        probe
    from stg_probes
),

by_arm as (
    select
        runs.run,
        wanted.probe_id,
        wanted.queries
    from wanted
    inner join runs using (base, recipe)
    union all
    select
        runs.run,
        wanted.probe_id,
        wanted.queries
    from wanted
    cross join runs
    where wanted.recipe is null
),

wanted_of_run as (
    select
        by_arm.run,
        probes.probe,
        max(by_arm.queries) as n_wanted
    from by_arm
    inner join probes using (probe_id)
    group by by_arm.run, probes.probe
),

measured as (
    select
        cells.run,
        cells.probe,
        count(*) as n_cells
    from stg_cells as cells
    semi join stg_relations as relations on cells.probe = relations.probe and cells.query = relations.query
    group by cells.run, cells.probe
)

select
    runs.arm,
    'missing cells' as variant,
    sum(wanted.n_wanted - measured.n_cells) as amount,
    'wanted pairs of measured probes that have no finite cell' as note
from measured
inner join wanted_of_run as wanted using (run, probe)
inner join runs using (run)
where wanted.n_wanted > measured.n_cells
group by runs.arm
