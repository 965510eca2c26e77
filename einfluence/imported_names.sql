-- One row a name (its own, its id, that of its one sample) of a probe or a query that an intervention has cells of.
with cells as (
    select distinct
        probe_id,
        query_id
    from influence
    where base = $base and recipe = $recipe
),

measured_probes as (
    select distinct probe_id from cells
),

measured_queries as (
    select distinct query_id from cells
),

members as (
    select
        probe_id,
        any_value(sample_id) as sample_id
    from probe_members
    group by probe_id
    having count(*) = 1
),

named as (
    select
        'probe' as side,
        unnest([probes.probe_id, probes.name, members.sample_id]) as name,
        probes.probe_id as id
    from probes
    semi join measured_probes using (probe_id)
    left join members using (probe_id)
    union all
    select
        'query' as side,
        unnest([samples.sample_id, samples.name]) as name,
        samples.sample_id as id
    from samples
    semi join measured_queries on samples.sample_id = measured_queries.query_id
)

select distinct
    side,
    name,
    id
from named
where name is not null
