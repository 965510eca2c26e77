-- One row a sample that may be a query, with its own domain and cluster; `as_probe` is the probe that trains on it
-- alone, where there is one. Numbers follow those of the probes, so that a range of probes is a range of queries too.
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
    select
        sample_id,
        any_value(name) as name,
        any_value(parent_id) as parent_id,
        nullif(any_value(domain), '') as domain,
        nullif(any_value(cluster), '') as cluster
    from samples
    group by sample_id
),

described as (
    select
        own.sample_id,
        own.name,
        own.domain,
        coalesce(clean.cluster, own.cluster, own.parent_id, own.sample_id) as cluster
    from samples as own
    left join samples as clean on own.parent_id = clean.sample_id
)

select
    described.sample_id as query_id,
    described.name,
    described.domain,
    described.cluster,
    probes.probe as as_probe,
    cast(dense_rank() over (order by described.cluster) - 1 as integer) as cluster_number,
    cast(row_number() over (order by probes.probe nulls last, described.sample_id) - 1 as integer) as query
from described
left join probes using (sample_id)
