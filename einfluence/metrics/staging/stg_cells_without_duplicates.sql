-- One row a cell again: copies that agree count once, copies that disagree are left out (and counted by the checks).
create or replace temp table stg_cells as
with cells as (
    select * from stg_cells
),

duplicates as (
    select * from stg_duplicates
)

select cells.*
from cells
anti join duplicates using (run, probe, query)

union all

select
    run,
    probe,
    query,
    n_tokens,
    lowest as influence,
    log_odds,
    first_before,
    first_after
from duplicates
where lowest = highest
