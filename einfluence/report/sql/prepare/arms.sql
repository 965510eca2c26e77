-- grain: one row an arm (base, estimator, recipe) that was tried; `several` where it was trained more than once
-- Scores without a unit have no nats to show: the leaderboard alone has them.
-- An arm all of whose probes failed has outcomes and no cells; it is shown, with its reasons.
create or replace temp table report_arms as
with
influence as (select * from influence),

outcomes as (select * from outcomes),

tried as (
    select
        base,
        estimator,
        recipe,
        seed,
        engine_version
    from influence

    union all

    select
        base,
        estimator,
        recipe,
        seed,
        engine_version
    from outcomes
),

unitless as (select recipe from recipes where unit is not null),

arms as (
    select
        base,
        estimator,
        recipe,
        min(seed) < max(seed) or min(engine_version) < max(engine_version) as several
    from tried
    anti join unitless using (recipe)
    group by base, estimator, recipe
)

select
    *,
    (row_number() over (order by base, estimator, recipe))::integer as arm
from arms
