-- grain: one row per base and pair whose distance by that base's own parts is another than in relations
-- Features are a base's own, so parts of two bases may measure one pair otherwise; relations has one of the two.
create or replace view base_distances as
with

arms as (
    select
        base,
        curation,
        min(turn) as turn
    from study_arms
    where base is not null
    group by base, curation
),

-- None where there is one curation, so that no pair is read.
several as (
    select * from arms
    where (select count(distinct each.curation) from arms as each) > 1
),

own as (
    select
        several.base,
        relations.probe_id,
        relations.query_id,
        arg_min(relations.distance, several.turn) as distance
    from several
    inner join curated_relations as relations using (curation)
    group by several.base, relations.probe_id, relations.query_id
),

relations as (
    select * from relations
),

final as (
    select
        own.base,
        own.probe_id,
        own.query_id,
        own.distance
    from own
    inner join relations using (probe_id, query_id)
    where own.distance is distinct from relations.distance
)

select * from final
