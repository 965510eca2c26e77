-- One row a (run, probe of one row, sample of its own): how much the probe raised it.
create or replace temp table mart_selves as
with samples as (
    select * from stg_samples
)

select
    cells.run,
    samples.probe,
    samples.own_query,
    cells.influence
from stg_cells as cells
inner join samples on cells.probe = samples.probe and cells.query = samples.own_query
