-- One row a (unit, query) of the ensemble $ensemble: the influence that is summed.
with ensembles as (
    select * from mart_ensembles
    where ensemble = $ensemble
),

units as (
    select distinct probe from mart_units
    where ensemble = $ensemble
),

cells as (
    select * from stg_cells
)

select
    cells.probe,
    cells.query,
    cells.influence
from cells
semi join ensembles using (run)
semi join units using (probe)
