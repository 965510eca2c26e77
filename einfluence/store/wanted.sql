-- grain: one row per arm of a current study (base, recipe) and probe; both are null where a store has no arms of it
-- Parts of one base may want other queries of the same probe. Only of probes that several parts share are queries told
-- apart: of all others the number is read off their one curation.
with

arms as (
    select distinct
        curation,
        base,
        recipe
    from study_arms
),

pairs as (
    select
        curation,
        probe_id,
        query_id
    from curated_relations
),

counted as (
    select
        arms.base,
        arms.recipe,
        pairs.probe_id,
        count(*) as queries,
        count(distinct pairs.curation) as curations
    from arms
    inner join pairs using (curation)
    group by all
),

shared as (
    select
        arms.base,
        arms.recipe,
        pairs.probe_id,
        count(distinct pairs.query_id) as queries
    from arms
    inner join pairs using (curation)
    semi join counted
        on
            arms.base is not distinct from counted.base
            and arms.recipe is not distinct from counted.recipe
            and pairs.probe_id = counted.probe_id
            and counted.curations > 1
    group by all
),

final as (
    select
        counted.base,
        counted.recipe,
        counted.probe_id,
        cast(coalesce(shared.queries, counted.queries) as integer) as queries
    from counted
    left join shared
        on
            counted.base is not distinct from shared.base
            and counted.recipe is not distinct from shared.recipe
            and counted.probe_id = shared.probe_id
)

select * from final
