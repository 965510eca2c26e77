-- One row a (run, probe of one sample that raised itself): by how much.
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
where cells.influence > 0
