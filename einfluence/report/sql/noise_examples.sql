-- grain: one row a noise family, level and example: the same three clean samples, of three classes, undamaged
-- and at every level
with
samples as (select * from samples),

probe_members as (select * from probe_members),

noisy as (
    select samples.*
    from samples
    inner join probe_members on samples.sample_id = probe_members.sample_id
    where samples.parent_id is not null and samples.noise is not null and samples.modality = 'image'
),

versions as (
    select
        parent_id,
        count(*) as versions
    from noisy
    group by parent_id
),

parents as (
    select versions.parent_id
    from versions
    inner join samples on versions.parent_id = samples.sample_id
    qualify
        row_number() over (partition by samples.label order by versions.versions desc, versions.parent_id asc) = 1
    order by versions.versions desc, samples.label asc
    limit 3
),

families as (select distinct noise from noisy),

whole as (
    select
        families.noise,
        null::double as level,
        true as clean,
        samples.sample_id as parent_id,
        samples.pixels,
        samples.shape,
        samples.label,
        samples.label_name
    from samples
    inner join parents on samples.sample_id = parents.parent_id
    cross join families
),

damaged as (
    select
        noisy.noise,
        noisy.level,
        false as clean,
        noisy.parent_id,
        noisy.pixels,
        noisy.shape,
        noisy.label,
        noisy.label_name
    from noisy
    inner join parents on noisy.parent_id = parents.parent_id
),

examples as (
    select * from whole
    union all
    select * from damaged
)

select *
from examples
order by noise asc, clean desc, level asc, parent_id asc
