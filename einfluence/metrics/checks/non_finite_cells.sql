-- One row an arm with cells whose influence is NaN, infinite or missing: they are left out.
with runs as (
    select * from stg_runs
)

select
    arm,
    'non-finite cells' as variant,
    sum(n_rows - n_finite) as amount,
    'influence is NaN, infinite or missing; left out' as note
from runs
group by arm
having sum(n_rows - n_finite) > 0
