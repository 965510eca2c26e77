-- One row a cell that stands in the table more than once (probes $low up to $high, exclusive; $queries query numbers).
with cells as (
    select * from stg_cells
    where probe >= $low and probe < $high
),

-- Counting distinct queries as bits is twenty times cheaper than grouping by them, and almost always finds nothing.
suspects as (
    select
        run,
        probe
    from cells
    group by run, probe
    having count(*) > bit_count(bitstring_agg(query, 0, $queries))
)

select
    cells.run,
    cells.probe,
    cells.query,
    cast(count(*) as integer) as copies,
    any_value(cells.n_tokens) as n_tokens,
    min(cells.influence) as lowest,
    max(cells.influence) as highest,
    any_value(cells.log_odds) as log_odds,
    any_value(cells.first_before) as first_before,
    any_value(cells.first_after) as first_after
from cells
semi join suspects using (run, probe)
group by cells.run, cells.probe, cells.query
having count(*) > 1
