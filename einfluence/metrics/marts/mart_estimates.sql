-- One row an estimated cell of a row's probe beside a measured one, among the cells of mart_cells, itself left out.
create or replace temp table mart_estimates as
with estimates as (
    select * from stg_estimates
)

select
    estimates.run,
    estimates.measured_run,
    estimated.probe,
    estimated.query,
    estimated.kind,
    estimated.distance,
    estimated.influence as estimate,
    measured.influence as measured
from estimates
inner join mart_cells as estimated using (run)
inner join mart_cells as measured
    on
        estimates.measured_run = measured.run
        and estimated.probe = measured.probe
        and estimated.query = measured.query
semi join stg_samples as samples on estimated.probe = samples.probe
where estimated.kind is distinct from 'self'
