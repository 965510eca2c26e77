-- grain: one row per arm and probe that its own parts call another kind than probes does
-- A wrong label that is noise in one part may be a sample of a training set in another.
create or replace view arm_probes as
with

arms as (
    select distinct
        base,
        recipe,
        curation
    from study_arms
    where base is not null and recipe is not null
),

own as (
    select
        arms.base,
        arms.recipe,
        curated_probes.probe_id,
        min_by(curated_probes.kind, (not is_example(curated_probes.kind), curated_probes.kind)) as kind
    from arms
    inner join curated_probes using (curation)
    group by arms.base, arms.recipe, curated_probes.probe_id
),

probes as (
    select
        probe_id,
        kind
    from probes
),

final as (
    select own.*
    from own
    inner join probes using (probe_id)
    where own.kind is distinct from probes.kind
)

select * from final
