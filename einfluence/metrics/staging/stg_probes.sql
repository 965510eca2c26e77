-- One row a probe, numbered so that the noisy versions of a sample stand right behind it.
create or replace temp table stg_probes as
with members as (
    select
        probe_id,
        arg_min(sample_id, position) as sample_id,
        count(*) as n_members
    from probe_members
    group by probe_id
),

samples as (
    select
        sample_id,
        any_value(parent_id) as parent_id,
        any_value(domain) as domain,
        any_value(cluster) as cluster,
        any_value(noise) as noise,
        any_value(level) as level
    from samples
    group by sample_id
),

probes as (
    select
        probe_id,
        any_value(name) as name,
        any_value(kind) as kind,
        any_value(control) as control
    from probes
    group by probe_id
),

described as (
    select
        probes.probe_id,
        probes.name,
        probes.kind,
        -- Old curations say in the probe's name alone which control it is.
        case
            when probes.kind != 'control' then null
            when probes.control is not null then probes.control
            when probes.name like '%shuffled%' then 'shuffled words'
            when probes.name like 'control:%' then 'length-matched'
            else 'control'
        end as control,
        members.n_members,
        members.sample_id,
        own.noise,
        own.level,
        own.parent_id,
        nullif(own.domain, '') as domain,
        -- Noisy versions of one sample are no independent evidence: they share its cluster.
        coalesce(nullif(clean.cluster, ''), nullif(own.cluster, ''), own.parent_id, own.sample_id) as cluster
    from probes
    inner join members using (probe_id)
    left join samples as own using (sample_id)
    left join samples as clean on own.parent_id = clean.sample_id
),

parents as (
    select
        sample_id,
        min(probe_id) as probe_id
    from described
    where kind = 'sample' and n_members = 1
    group by sample_id
),

numbered as (
    select
        described.*,
        parents.probe_id as parent_probe_id,
        coalesce(parents.probe_id, described.probe_id) as family_id
    from described
    left join parents on described.parent_id = parents.sample_id
)

select
    *,
    cast(row_number() over (order by family_id, parent_probe_id is not null, probe_id) - 1 as integer) as probe,
    cast(dense_rank() over (order by family_id) - 1 as integer) as family,
    cast(dense_rank() over (order by cluster) - 1 as integer) as cluster_number
from numbered
