-- grain: one row per probe and group of queries of which cells are wanted: how many, and a list of those missing
-- What is claimed counts in a group of its own, -1, where its own is not drawn.
with

relations as (
    select
        probe_id,
        query_id,
        case when place <= $groups then query_group else -1 end as query_group
    from placed_relations
    where claimed or place <= $groups
),

present as (
    select distinct
        probe_id,
        query_id
    from present_cells
),

final as (
    select
        relations.probe_id,
        relations.query_group,
        count(*) as wanted,
        list(relations.query_id order by relations.query_id) filter (where present.query_id is null) as missing
    from relations
    left join present on relations.probe_id = present.probe_id and relations.query_id = present.query_id
    group by relations.probe_id, relations.query_group
)

select * from final
order by probe_id, query_group
