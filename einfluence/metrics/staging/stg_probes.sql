-- One row a probe, numbered so that the noisy versions of a sample stand right behind it.
create or replace temp table stg_probes as
with samples as (
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

-- What is known of a probe is known of its first sample. Chats may begin with the same answer, but end with their own.
members as (
    select
        probe_members.probe_id,
        arg_min(
            probe_members.sample_id,
            case when probes.kind in ('chat', 'noisy') then -probe_members.position else probe_members.position end
        ) as sample_id,
        count(*) as n_members,
        list(probe_members.sample_id order by probe_members.position) as sample_ids,
        list(samples.parent_id order by probe_members.position) as parent_ids
    from probe_members
    inner join probes using (probe_id)
    left join samples using (sample_id)
    group by probe_members.probe_id
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
        members.sample_ids,
        members.parent_ids,
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

-- The clean probe of a noisy one: the row whose samples, in order, are those that the noisy ones were made of.
parents as (
    select
        sample_ids,
        min(probe_id) as probe_id
    from described
    where is_example(kind)
    group by sample_ids
),

numbered as (
    select
        described.* exclude (sample_ids, parent_ids),
        parents.probe_id as parent_probe_id,
        coalesce(parents.probe_id, described.probe_id) as family_id
    from described
    left join parents on described.parent_ids = parents.sample_ids
)

select
    *,
    cast(row_number() over (order by family_id, parent_probe_id is not null, probe_id) - 1 as integer) as probe,
    cast(dense_rank() over (order by family_id) - 1 as integer) as family,
    cast(dense_rank() over (order by cluster) - 1 as integer) as cluster_number
from numbered
