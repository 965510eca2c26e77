-- One row a cell that stands in the table more than once (probes $low up to $high, exclusive).
with cells as (
    select * from stg_cells
    where probe >= $low and probe < $high
)

select
    run,
    probe,
    query,
    cast(count(*) as integer) as copies,
    any_value(n_tokens) as n_tokens,
    min(influence) as lowest,
    max(influence) as highest
from cells
group by run, probe, query
having count(*) > 1
