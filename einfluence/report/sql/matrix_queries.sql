-- grain: one row a query of $base, by domain, cluster and the place of the probe that it belongs to
with
influence as (select * from influence),
samples as (select * from samples),
measured as (select distinct query_id from influence where base = $base),
described as (
    select
        samples.sample_id,
        samples.name,
        coalesce(samples.domain, '') as domain,
        coalesce(samples.cluster, '') as cluster
    from measured
    inner join samples on measured.query_id = samples.sample_id
)
select
    *,
    (row_number() over (order by domain, cluster, name, sample_id) - 1)::integer as column_index
from described
order by column_index
