-- One row a (run, probe) of any kind: its self-influence and how its row of influence is spread.
with cells as (
    select
        run,
        probe,
        kind,
        influence,
        self_influence,
        abs(influence) as size,
        row_number() over (partition by run, probe order by abs(influence)) as place
    from mart_cells
)

select
    run,
    probe,
    count(*) as n_cells,
    any_value(self_influence) as self_influence,
    sum(place * size) as placed_sum,
    sum(size) as size_sum,
    sum(size * size) as square_sum,
    sum(size * size * size * size) as fourth_sum,
    median(size) as median_size,
    count(*) filter (where kind = 'unrelated') as n_unrelated,
    median(size) filter (where kind = 'unrelated') as unrelated_size,
    median(influence) filter (where kind = 'unrelated') as unrelated_influence
from cells
group by run, probe
