-- One row a (run, probe) of any kind: its self-influence (of several own samples the mean) and sums over its row
-- of influence.
with cells as (
    select * from mart_cells
)

select
    run,
    probe,
    count(*) as n_cells,
    avg(influence) filter (where kind = 'self') as self_influence,
    sum(abs(influence)) as size_sum,
    sum(influence * influence) as square_sum,
    sum(influence * influence * influence * influence) as fourth_sum,
    count(*) filter (where kind = 'unrelated') as n_unrelated,
    median(abs(influence)) filter (where kind = 'unrelated') as unrelated_size,
    median(influence) filter (where kind = 'unrelated') as unrelated_influence
from cells
group by run, probe
