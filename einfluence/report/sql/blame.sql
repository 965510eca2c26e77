-- grain: one row an arm and probe: what it did to the query $query_id, the $most on either side
-- Of several seeds the mean, and the least and the most that one of them says.
with
influence as (select * from influence),

recipes as (select * from recipes),

bases as (select * from bases),

probes as (select * from probes),

members as (
    select
        probe_members.probe_id,
        string_agg(
            case when samples.modality = 'image' then samples.name else samples.prompt || ' ' || samples.target end,
            ' + '
            order by probe_members.position
        ) as text
    from probe_members
    inner join samples on probe_members.sample_id = samples.sample_id
    group by probe_members.probe_id
),

told as (
    select
        base,
        estimator,
        recipe,
        probe_id,
        avg(influence) as influence,
        min(influence) as lowest,
        max(influence) as highest,
        count(*) as seeds
    from influence
    where query_id = $query_id
    group by base, estimator, recipe, probe_id
),

ranked as (
    select
        *,
        row_number() over (partition by base, estimator, recipe order by influence desc, probe_id asc) as helped,
        row_number() over (partition by base, estimator, recipe order by influence, probe_id) as hurt
    from told
)

select
    bases.label as base,
    ranked.estimator,
    recipes.label as recipe,
    probes.name as probe,
    ranked.probe_id,
    ranked.influence,
    ranked.lowest,
    ranked.highest,
    ranked.seeds,
    trim(members.text) as text,
    ranked.base as base_id,
    ranked.recipe as recipe_id
from ranked
inner join bases on ranked.base = bases.base
inner join recipes on ranked.recipe = recipes.recipe and recipes.unit is null
inner join probes on ranked.probe_id = probes.probe_id
inner join members on ranked.probe_id = members.probe_id
where ranked.helped <= $most or ranked.hurt <= $most
order by base asc, ranked.estimator asc, recipe asc, ranked.influence desc, ranked.probe_id asc
