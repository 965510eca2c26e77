-- One row a cell of a row's probe: its place by size in the whole row, and mean ranks (ties share theirs) of size
-- and distance among the cells that count in the decay: those with a distance, but for the probe's own.
create or replace temp table mart_ranks as
with cells as (
    select
        cells.run,
        cells.probe,
        abs(cells.influence) as size,
        case when coalesce(cells.kind, '') <> 'self' then cells.distance end as distance,
        coalesce(cells.kind = 'self', false) as own
    from mart_cells as cells
    semi join stg_samples as samples on cells.probe = samples.probe
),

rows as (
    select
        run,
        probe,
        max(size) filter (where own) as own_size,
        count(distance) as n_counting,
        bool_and(own or distance is not null) and count_if(own) <= 1 as complete
    from cells
    group by run, probe
),

-- The usual row: its own cell alone does not count, so ranks in the whole row are ranks without it, but for that one.
complete as (
    select
        cells.*,
        rows.own_size,
        rows.n_counting,
        row_number() over small as place,
        rank() over small + (count(*) over (small range between current row and current row) - 1) / 2.0 as size_rank,
        rank() over near + (count(*) over (near range between current row and current row) - 1) / 2.0 as distance_rank
    from cells
    inner join rows using (run, probe)
    where rows.complete
    window
        small as (partition by cells.run, cells.probe order by cells.size),
        near as (partition by cells.run, cells.probe order by cells.distance nulls last)
),

partial as (
    select
        cells.*,
        rows.n_counting,
        row_number() over small as place,
        rank() over counting
        + (count(*) over (counting range between current row and current row) - 1) / 2.0 as size_rank,
        rank() over near + (count(*) over (near range between current row and current row) - 1) / 2.0 as distance_rank
    from cells
    inner join rows using (run, probe)
    where not rows.complete
    window
        small as (partition by cells.run, cells.probe order by cells.size),
        counting as (partition by cells.run, cells.probe, cells.distance is null order by cells.size),
        near as (partition by cells.run, cells.probe order by cells.distance nulls last)
)

select
    run,
    probe,
    size,
    place,
    n_counting,
    case when distance is not null then distance_rank end as distance_rank,
    case
        when distance is null then null
        when size > own_size then size_rank - 1
        when size = own_size then size_rank - 0.5
        else size_rank
    end as size_rank
from complete

union all

select
    run,
    probe,
    size,
    place,
    n_counting,
    case when distance is not null then distance_rank end as distance_rank,
    case when distance is not null then size_rank end as size_rank
from partial
