-- One row a (side, pair of mart_sampled_cells that it has): `measured` are the cells that count, `control` what the
-- control says of the same, `whole` what it says of all. Each stands for `weight` pairs, and each of the rest beside it
-- for `others` (two of n that were drawn are of N as two of n, not as one and one); both also among those with a
-- distance.
create or replace temp table mart_sampled_sides as
with cells as (
    select * from mart_sampled_cells
),

sides as (
    select
        *,
        'measured' as side,
        found as value
    from cells
    where certain or read
    union all
    select
        *,
        'control' as side,
        said as value
    from cells
    where (certain or read) and said is not null
    union all
    select
        *,
        'whole' as side,
        said as value
    from cells
    where said is not null
),

counting as (
    select
        run,
        probe,
        count(*) filter (where not certain and distance_rank is not null) as n_rest_counting
    from cells
    group by run, probe
),

counted as (
    select
        sides.*,
        counting.n_rest_counting,
        count(*) filter (where not sides.certain) over row_of as n_read,
        count(*) filter (where not sides.certain and sides.distance_rank is not null) over row_of as n_read_counting
    from sides
    inner join counting using (run, probe)
    window row_of as (partition by sides.side, sides.run, sides.probe)
)

select
    side,
    run,
    probe,
    kind,
    own,
    certain,
    value,
    abs(value) as size,
    bin,
    distance_rank,
    distance_spread,
    n_counting,
    case when certain then 1.0 else n_rest / n_read end as weight,
    coalesce(
        case when certain then n_rest / nullif(n_read, 0) else (n_rest - 1) / nullif(n_read - 1, 0) end, 0
    ) as others,
    case when certain then 1.0 else n_rest_counting / nullif(n_read_counting, 0) end as weight_counting,
    coalesce(
        case
            when certain then n_rest_counting / nullif(n_read_counting, 0)
            else (n_rest_counting - 1) / nullif(n_read_counting - 1, 0)
        end, 0
    ) as others_counting
from counted
