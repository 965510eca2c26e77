-- grain: one row per probe that lacks cells of one arm, with the queries that it lacks in order of their id
-- A probe whose wanted and present queries have the same number and the same checksum lacks nothing, so that only
-- the others are compared query by query: the plan stays quick when nearly everything is there.
with

wanted as (
    select
        probe_id,
        query_id
    from wanted_cells
),

present as (
    select
        probe_id,
        query_id
    from present_cells
),

wanted_sums as (
    select
        probe_id,
        count(*) as cells,
        bit_xor(hash(query_id)) as checksum
    from wanted
    group by probe_id
),

present_sums as (
    select
        probe_id,
        count(*) as cells,
        bit_xor(hash(query_id)) as checksum
    from present
    group by probe_id
),

unfinished as (
    select wanted_sums.probe_id
    from wanted_sums
    left join present_sums
        on
            wanted_sums.probe_id = present_sums.probe_id
            and wanted_sums.cells = present_sums.cells
            and wanted_sums.checksum = present_sums.checksum
    where present_sums.probe_id is null
),

lacking as (
    select
        wanted.probe_id,
        wanted.query_id
    from wanted
    semi join unfinished on wanted.probe_id = unfinished.probe_id
    anti join present on wanted.probe_id = present.probe_id and wanted.query_id = present.query_id
),

final as (
    select
        probe_id,
        list(query_id order by query_id) as query_ids
    from lacking
    group by probe_id
)

select * from final
