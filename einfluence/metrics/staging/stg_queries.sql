-- One row a sample that may be a query; `as_probe` is the probe that trains on it alone, where there is one. Numbers
-- follow those of the probes, so that a range of probes is a range of queries too.
create or replace temp table stg_queries as
with probes as (
    select
        sample_id,
        min(probe) as probe
    from stg_probes
    where kind = 'sample' and n_members = 1
    group by sample_id
),

samples as (
    select distinct sample_id from samples
)

select
    samples.sample_id as query_id,
    probes.probe as as_probe,
    cast(row_number() over (order by probes.probe nulls last, samples.sample_id) - 1 as integer) as query
from samples
left join probes using (sample_id)
