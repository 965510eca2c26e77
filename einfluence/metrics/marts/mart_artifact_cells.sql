-- One row a (run, query from $low up to $high, exclusive, feature, probe but for the query's own): how much the probe's
-- feature weighs in the regression on 1, u and (3u² - 1)/2, u being the rank of its influence, from -1 to 1.
create or replace temp table mart_artifact_cells as
with features as (
    select * from mart_features
),

samples as (
    select * from stg_samples
),

ranked as (
    select
        features.run,
        features.feature,
        features.probe,
        features.value,
        cells.query,
        count(*) over of_query as n,
        rank() over by_influence
        + (count(*) over (by_influence range between current row and current row) - 1) / 2.0 as place
    from features
    inner join stg_cells as cells  -- all cells: a CTE of them that is read twice would be written out
        on
            features.run = cells.run
            and features.probe = cells.probe
            and cells.query >= $low
            and cells.query < $high
    inner join samples on features.probe = samples.probe
    semi join stg_relations as relations on cells.probe = relations.probe and cells.query = relations.query
    where samples.own_query <> cells.query
    window
        of_query as (partition by features.run, features.feature, cells.query),
        by_influence as (partition by features.run, features.feature, cells.query order by cells.influence)
),

placed as (
    select
        *,
        (2 * place - n - 1) / (n - 1) as u,
        (3 * ((2 * place - n - 1) / (n - 1)) ** 2 - 1) / 2 as p
    from ranked
    where n >= $least
),

-- Mean ranks of ties keep the mean of u at 0, but not that of p.
moments as (
    select
        run,
        feature,
        query,
        avg(p) as mean_p,
        var_pop(u) as uu,
        var_pop(p) as pp,
        covar_pop(u, p) as up,
        var_pop(value) as spread
    from placed
    group by run, feature, query
)

select
    placed.run,
    placed.feature,
    placed.query,
    placed.probe,
    placed.value,
    ((placed.p - moments.mean_p) * moments.uu - placed.u * moments.up)
    / (placed.n * (moments.uu * moments.pp - moments.up ** 2)) as quadratic,
    (placed.u * moments.pp - (placed.p - moments.mean_p) * moments.up)
    / (placed.n * (moments.uu * moments.pp - moments.up ** 2)) as linear
from placed
inner join moments using (run, feature, query)
-- three places at least, or u and p are one; a feature that all have alike has nothing to rest on
where moments.uu * moments.pp - moments.up ** 2 > 1e-9 and moments.spread > 0
