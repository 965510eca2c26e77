-- grain: one row a cell of one arm's heat map, measured or inferred; report_rows and report_columns hold the axes
with
influence_inferred as (select * from influence_inferred),

report_rows as (select * from report_rows),

report_columns as (select * from report_columns)

select
    report_rows.row_index,
    report_columns.column_index,
    avg(influence_inferred.influence)::float as influence,
    bool_and(influence_inferred.measured) as measured
from influence_inferred
inner join report_rows on influence_inferred.probe_id = report_rows.probe_id
inner join report_columns on influence_inferred.query_id = report_columns.sample_id
where
    influence_inferred.base = $base
    and influence_inferred.estimator = $estimator
    and influence_inferred.recipe = $recipe
group by report_rows.row_index, report_columns.column_index
