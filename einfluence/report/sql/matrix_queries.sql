-- grain: one row a query of $base, by domain, cluster and name
with
report_arms as (select * from report_arms),

report_cells as (select * from report_cells),

report_queries as (select * from report_queries),

samples as (select * from samples),

measured as (
    select distinct report_cells.query
    from report_cells
    inner join report_arms on report_cells.arm = report_arms.arm
    where report_arms.base = $base
),

described as (
    select
        measured.query,
        samples.sample_id,
        samples.name,
        coalesce(samples.domain, '') as domain,
        coalesce(samples.cluster, '') as cluster
    from measured
    inner join report_queries on measured.query = report_queries.query
    inner join samples on report_queries.query_id = samples.sample_id
)

select
    *,
    (row_number() over (order by domain, cluster, name, sample_id) - 1)::integer as column_index
from described
order by column_index
