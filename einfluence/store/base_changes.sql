-- grain: one row for each recipe, seed and probe that two bases both have, and pair of them (either first)
create or replace view base_changes as
with

influence as (
    select * from influence
),

members as (
    select * from probe_members
),

-- Without the probe's own samples.
pairs as (
    select
        one.estimator,
        one.recipe,
        one.seed,
        one.probe_id,
        one.base,
        other.base as other_base,
        one.influence,
        other.influence as other_influence
    from influence as one
    inner join influence as other using (estimator, recipe, seed, probe_id, query_id, engine_version)
    where
        one.base <> other.base
        and not exists (
            select 1
            from members
            where members.probe_id = one.probe_id and members.sample_id = one.query_id
        )
),

-- Ties share their mean rank.
ranked as (
    select
        *,
        rank() over own
        + (count(*) over (own range between current row and current row) - 1) / 2.0 as place,
        rank() over others
        + (count(*) over (others range between current row and current row) - 1) / 2.0 as other_place
    from pairs
    window
        own as (partition by estimator, recipe, seed, probe_id, base, other_base order by influence),
        others as (partition by estimator, recipe, seed, probe_id, base, other_base order by other_influence)
),

final as (
    select
        base,
        other_base,
        estimator,
        recipe,
        seed,
        probe_id,
        cast(count(*) as integer) as queries,
        case when stddev_pop(place) > 0 and stddev_pop(other_place) > 0 then corr(place, other_place) end as spearman,
        avg(abs(influence)) as size,
        avg(abs(other_influence)) as other_size
    from ranked
    group by base, other_base, estimator, recipe, seed, probe_id
)

select * from final
