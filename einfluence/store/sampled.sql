-- grain: one row per arm of a current study that measures some of its cells (base, recipe) and pair that it relates
-- Where several parts have the arm and the probe, only what all of them draw is a sample of known probability.
create or replace view sampled as
with

arms as (
    select distinct
        curation,
        base,
        recipe,
        groups,
        control
    from study_arms
),

few as (
    select
        base,
        recipe,
        min(control) as control
    from arms
    where groups is not null
    group by base, recipe
),

relations as (
    select * from placed_relations
),

probes as (
    select distinct
        curation,
        probe_id
    from curated_relations
),

shares as (
    select
        few.base,
        few.recipe,
        few.control,
        probes.probe_id,
        min(coalesce(arms.groups, 20)) as groups
    from few
    inner join arms using (base, recipe)
    inner join probes using (curation)
    group by all
    having min(coalesce(arms.groups, 20)) < 20
),

pairs as (
    select
        few.base,
        few.recipe,
        relations.probe_id,
        relations.query_id,
        bool_or(relations.claimed) as claimed,
        min(relations.place) as place
    from few
    inner join arms using (base, recipe)
    inner join relations using (curation)
    group by all
),

final as (
    select
        shares.base,
        shares.recipe,
        shares.control,
        pairs.probe_id,
        pairs.query_id,
        case when pairs.claimed then 1.0 else shares.groups / 20.0 end::double as share,
        pairs.claimed or pairs.place <= shares.groups as drawn
    from pairs
    inner join shares using (base, recipe, probe_id)
)

select * from final
