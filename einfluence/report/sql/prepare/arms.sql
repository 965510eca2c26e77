-- grain: one row an arm (base, estimator, recipe) that has cells
create or replace temp table report_arms as
with
influence as (select * from influence),

arms as (
    select distinct
        base,
        estimator,
        recipe
    from influence
)

select
    *,
    (row_number() over (order by base, estimator, recipe))::integer as arm
from arms
