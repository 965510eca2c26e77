-- grain: one row an arm (base, estimator, recipe) that has cells; `several` where it was trained more than once
create or replace temp table report_arms as
with
influence as (select * from influence),

arms as (
    select
        base,
        estimator,
        recipe,
        min(seed) < max(seed) or min(engine_version) < max(engine_version) as several
    from influence
    group by base, estimator, recipe
)

select
    *,
    (row_number() over (order by base, estimator, recipe))::integer as arm
from arms
