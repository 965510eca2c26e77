-- grain: one row per arm of a current study (base, recipe) and probe; both are null where a store has no arms of it
-- Parts of one base may want other queries of the same probe. Only of probes that several parts share are queries told
-- apart: of all others the number is read off their one curation. An arm that measures some of its cells wants what is
-- claimed, and what is drawn of the rest.
create or replace view wanted as
with

arms as (
    select distinct
        curation,
        base,
        recipe,
        groups
    from study_arms
),

pairs as (
    select
        arms.base,
        arms.recipe,
        relations.curation,
        relations.probe_id,
        relations.query_id
    from arms
    inner join curated_relations as relations using (curation)
    where arms.groups is null
    union all
    select
        arms.base,
        arms.recipe,
        relations.curation,
        relations.probe_id,
        relations.query_id
    from arms
    inner join placed_relations as relations using (curation)
    where arms.groups is not null and (relations.claimed or relations.place <= arms.groups)
),

counted as (
    select
        base,
        recipe,
        probe_id,
        count(*) as queries,
        count(distinct curation) as curations
    from pairs
    group by all
),

shared as (
    select
        pairs.base,
        pairs.recipe,
        pairs.probe_id,
        count(distinct pairs.query_id) as queries
    from pairs
    semi join counted
        on
            pairs.base is not distinct from counted.base
            and pairs.recipe is not distinct from counted.recipe
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
