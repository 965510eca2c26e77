-- grain: one row per probe that lacks cells of one arm; its queries, in order of their id, stand at its twin
-- A probe whose wanted and present queries have the same number and the same checksum lacks nothing, so that only
-- the others are compared query by query: the plan stays quick when nearly everything is there. Probes that lack the
-- same queries are twins, and the queries are listed once for all of them.
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

lacking_sums as (
    select
        probe_id,
        count(*) as cells,
        bit_xor(hash(query_id)) as checksum,
        sum(hash(query_id)) as second_checksum
    from lacking
    group by probe_id
),

twins as (
    select
        probe_id,
        first_value(probe_id) over (
            partition by cells, checksum, second_checksum
            order by probe_id
        ) as twin_id
    from lacking_sums
),

listed as (
    select
        lacking.probe_id,
        list(lacking.query_id order by lacking.query_id) as query_ids
    from lacking
    semi join twins on lacking.probe_id = twins.twin_id
    group by lacking.probe_id
),

final as (
    select
        twins.probe_id,
        twins.twin_id,
        listed.query_ids
    from twins
    left join listed on twins.probe_id = listed.probe_id
)

select * from final
