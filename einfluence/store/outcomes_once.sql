-- grain: one row per probe trained (base, estimator, recipe, probe, seed, engine version)
-- A probe that failed and was trained by a later run has both rows on the disk: what succeeded outweighs the failure.
create or replace view outcomes_once as
with

written as (
    select * from outcomes_written
),

final as (
    select *
    from written
    qualify
        row_number() over (
            partition by base, estimator, recipe, probe_id, seed, engine_version
            order by status, reason
        ) = 1
)

select * from final
