-- One row a (run that measures some of its cells, sample's probe): as mart_decay.
with sampled as (
    select * from mart_sampled
),

samples as (
    select * from stg_samples
)

select
    sampled.run,
    sampled.probe,
    sampled.unevenness * sampled.size_sum as placed_sum,
    sampled.correlation
from sampled
semi join samples using (probe)
