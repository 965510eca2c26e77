-- One row a (arm, feature, probe): what its feature weighs in the coefficients, summed over queries and seeds.
with cells as (
    select * from mart_artifact_cells
),

runs as (
    select
        run,
        arm
    from stg_runs
),

probes as (
    select
        probe,
        cluster_number as cluster
    from stg_probes
)

select
    runs.arm,
    cells.feature,
    cells.probe,
    any_value(probes.cluster) as cluster,
    any_value(cells.value) as value,
    sum(cells.quadratic) as quadratic,
    sum(cells.linear) as linear
from cells
inner join runs using (run)
inner join probes using (probe)
group by runs.arm, cells.feature, cells.probe
