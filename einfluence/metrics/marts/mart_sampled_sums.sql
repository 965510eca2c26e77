-- One row a (side of mart_sampled_sides, run, probe): what its cells give for all cells of the probe. Sums and ranks
-- are without bias. `unevenness` is the sum of places times sizes over the sum of sizes, `spread_over` the
-- participation ratio.
create or replace temp table mart_sampled_sums as
with ranks as (
    select * from mart_sampled_ranks
),

controls as (
    select probe from stg_probes
    where kind = 'control'
),

sums as (
    select
        side,
        run,
        probe,
        sum(weight) as n_cells,
        sum(weight * size) as size_sum,
        sum(weight * place * size) as placed_sum,
        sum(weight * size * size) as square_sum,
        sum(weight * size * size * size * size) as fourth_sum,
        median(size) filter (where kind = 'unrelated') as unrelated_size,
        median(value) filter (where kind = 'unrelated') as unrelated_influence,
        max(n_counting) as n_counting,
        max(distance_spread) as distance_spread,
        sum(weight_counting * (size_rank - (n_counting + 1) / 2) * (distance_rank - (n_counting + 1) / 2)) as products
    from ranks
    group by side, run, probe
),

elsewhere as (
    select
        side,
        run,
        probe,
        size,
        sum(weight) over (
            partition by side, run, probe
            order by size range between unbounded preceding and current row
        ) as up_to,
        sum(weight) over (partition by side, run, probe) as total
    from ranks
    semi join controls using (probe)
    where not own
),

medians as (
    select
        side,
        run,
        probe,
        (
            min(size) filter (where up_to > 0.4999999 * total)
            + min(size) filter (where up_to > 0.5000001 * total)
        ) / 2 as control_size
    from elsewhere
    group by side, run, probe
)

select
    sums.side,
    sums.run,
    sums.probe,
    sums.size_sum,
    sums.square_sum,
    sums.placed_sum / nullif(sums.size_sum, 0) as unevenness,
    sums.square_sum * sums.square_sum / nullif(sums.n_cells * sums.fourth_sum, 0) as spread_over,
    sums.unrelated_size,
    sums.unrelated_influence,
    -- the spread of n ranks without ties is known, and does not have to be taken from a sample
    sums.products
    / nullif(sums.n_counting * sqrt((sums.n_counting * sums.n_counting - 1) / 12) * sums.distance_spread, 0)
        as correlation,
    medians.control_size
from sums
left join medians using (side, run, probe)
