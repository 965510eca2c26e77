-- One row a (run, probe, variant): does the probe change few outputs, or a little of all?
with samples as (
    select * from mart_samples
    where n_cells > 1
)

-- Gini = Σ(2i − n − 1)x_i / (nΣx_i) over |influence| in rising order; Gaussian noise has (√2 − 1)(n − 1)/n.
select
    run,
    probe,
    'gini' as variant,
    'ladder' as rule,
    case
        when learned and size_sum > 0 then (2 * placed_sum - (n_cells + 1) * size_sum) / (n_cells * size_sum)
    end as value,
    (sqrt(2) - 1) * (n_cells - 1) / n_cells as null_value,
    ideal_gini as learner,
    1.0 as ideal,
    'mean' as summary
from samples

union all

-- The participation ratio: the share of the queries that the squared influence is spread over.
select
    run,
    probe,
    'participation' as variant,
    'ladder' as rule,
    case when learned and fourth_sum > 0 then square_sum * square_sum / (n_cells * fourth_sum) end as value,
    -- its mean for n independent Gaussian numbers, to first order in 1/n
    (1 + 14.0 / (3 * n_cells)) / 3 as null_value,
    ideal_participation as learner,
    0.0 as ideal,
    'mean' as summary
from samples
