-- grain: one row per arm and pair of which its own parts say something else than relations does
-- Parts may share pairs and claim other things of them, or measure their distances by other features, those of another
-- base say. Only probes that several curations have are looked at.
create or replace view arm_relations as
with

arms as (
    select
        base,
        recipe,
        curation,
        min(turn) as turn
    from study_arms
    where base is not null and recipe is not null
    group by base, recipe, curation
),

shared as (
    select probe_id
    from curated_probes
    group by probe_id
    having count(distinct curation) > 1
),

-- What is claimed takes precedence over nothing, then the latest; both ignore nulls.
own as (
    select
        arms.base,
        arms.recipe,
        relations.probe_id,
        relations.query_id,
        arg_min(relations.kind, arms.turn) as kind,
        arg_min(relations.level, arms.turn) as level,
        arg_min(relations.distance, arms.turn) as distance
    from curated_relations as relations
    semi join shared on relations.probe_id = shared.probe_id
    inner join arms using (curation)
    group by arms.base, arms.recipe, relations.probe_id, relations.query_id
),

relations as (
    select * from relations
),

final as (
    select
        own.base,
        own.recipe,
        own.probe_id,
        own.query_id,
        own.kind,
        own.level,
        own.distance
    from own
    inner join relations using (probe_id, query_id)
    where
        own.kind is distinct from relations.kind
        or own.level is distinct from relations.level
        or own.distance is distinct from relations.distance
)

select * from final
