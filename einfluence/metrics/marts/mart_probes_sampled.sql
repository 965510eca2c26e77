-- One row a (run that measures some of its cells, probe): as mart_probes; the sums are such that they give the Gini
-- coefficient and the participation ratio that were inferred.
with sampled as (
    select * from mart_sampled
)

select
    run,
    probe,
    n_cells,
    self_influence,
    size_sum,
    square_sum,
    square_sum * square_sum / (n_cells * spread_over) as fourth_sum,
    n_unrelated,
    unrelated_size,
    unrelated_influence
from sampled
