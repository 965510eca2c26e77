-- grain: one row an arm and query: the $most the probe helped most and hurt most, and the first of its relations
with
influence as (select * from influence),

relations as (select * from relations),

samples as (select * from samples),

cells as (
    select
        base,
        estimator,
        recipe,
        query_id,
        avg(influence) as influence
    from influence
    where probe_id = $probe_id
    group by base, estimator, recipe, query_id
),

claims as (
    select
        query_id,
        any_value(nullif(kind, 'unrelated')) as kind
    from relations
    where probe_id = $probe_id
    group by query_id
),

ranked as (
    select
        cells.*,
        claims.kind,
        row_number()
            over (partition by cells.base, cells.estimator, cells.recipe order by cells.influence desc)
            as helped,
        row_number() over (partition by cells.base, cells.estimator, cells.recipe order by cells.influence) as hurt
    from cells
    left join claims on cells.query_id = claims.query_id
)

select
    ranked.base,
    ranked.estimator,
    ranked.recipe,
    ranked.kind,
    ranked.influence,
    samples.name,
    samples.modality,
    samples.prompt,
    samples.target,
    samples.label,
    samples.label_name
from ranked
inner join samples on ranked.query_id = samples.sample_id
where ranked.helped <= $most or ranked.hurt <= $most or ranked.kind is not null
qualify
    row_number()
        over (
            partition by ranked.base, ranked.estimator, ranked.recipe
            order by ranked.kind is null, abs(ranked.influence) desc
        )
    <= 3 * $most
order by ranked.base asc, ranked.estimator asc, ranked.recipe asc, ranked.influence desc, samples.name asc
