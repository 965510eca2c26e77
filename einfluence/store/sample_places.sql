-- grain: one row per probe and group of queries (20 by content hash): its place, 1 to 20, in the order that is drawn
-- A part that measures some of its cells takes the first groups of each probe, so more of them only add to fewer.
-- Probes are drawn for by their first sample, or the clean sample behind it: its versions meet the same queries.
create or replace view sample_places as
with

firsts as (
    select
        probe_id,
        sample_id
    from probe_members
    where position = 0
),

parents as (
    select
        sample_id,
        any_value(parent_id) as parent_id
    from samples
    group by sample_id
),

numbers as (
    select unnest(range(20)) as query_group
),

drawn as (
    select
        firsts.probe_id,
        numbers.query_group,
        md5(coalesce(parents.parent_id, firsts.sample_id) || ' ' || numbers.query_group) as draw
    from firsts
    left join parents on firsts.sample_id = parents.sample_id
    cross join numbers
),

final as (
    select
        probe_id,
        query_group,
        row_number() over (partition by probe_id order by draw) as place
    from drawn
)

select * from final
