-- One row a (run, query, feature, formula): the coefficient of the feature in that query.
with cells as (
    select * from mart_artifact_cells
)

select
    run,
    query,
    feature,
    unnest(['quadratic', 'linear']) as formula,
    unnest([sum(quadratic * value), sum(linear * value)]) as value
from cells
group by run, query, feature
