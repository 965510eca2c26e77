-- One row a row of mart_sampled_sides: its place by size among all cells of its probe as they would be, and among those
-- that count in the decay (with a distance, but for the probe's own). Ties have their mean.
create or replace temp table mart_sampled_ranks as
with sides as (
    select
        *,
        distance_rank is not null as counts
    from mart_sampled_sides
),

-- Cells up to a size and of that size, of those that are certain (each is one pair) and of the rest.
places as (
    select
        *,
        count(*) filter (where certain) over small as certain_to,
        count(*) filter (where not certain) over small as rest_to,
        count(*) filter (where certain) over (small range between current row and current row) as certain_ties,
        count(*) filter (where not certain) over (small range between current row and current row) as rest_ties,
        count(*) filter (where certain) over counting as counting_to,
        count(*) filter (where not certain) over counting as counting_rest_to,
        count(*) filter (where certain) over (counting range between current row and current row) as counting_ties,
        count(*) filter (where not certain) over (counting range between current row and current row)
            as counting_rest_ties
    from sides
    window
        small as (partition by side, run, probe order by size),
        counting as (partition by side, run, probe, counts order by size)
)

select
    side,
    run,
    probe,
    kind,
    own,
    certain,
    value,
    size,
    weight,
    weight_counting,
    bin,
    distance_rank,
    distance_spread,
    n_counting,
    1 + certain_to - certain_ties + others * (rest_to - rest_ties)
    + (certain_ties + others * rest_ties - case when certain then 1 else others end) / 2 as place,
    case
        when counts
            then
                1 + counting_to - counting_ties + others_counting * (counting_rest_to - counting_rest_ties)
                + (
                    counting_ties + others_counting * counting_rest_ties
                    - case when certain then 1 else others_counting end
                ) / 2
    end as size_rank
from places
