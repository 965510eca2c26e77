-- grain: one row a cell of one arm's heat map, the mean over seeds; report_rows and report_columns hold the axes
with
influence as (select * from influence),
report_rows as (select * from report_rows),
report_columns as (select * from report_columns),
cells as (
    select
        probe_id,
        query_id,
        avg(influence) as influence
    from influence
    where base = $base and estimator = $estimator and recipe = $recipe
    group by probe_id, query_id
)
select
    report_rows.row_index,
    report_columns.column_index,
    cells.influence::float as influence
from cells
inner join report_rows on cells.probe_id = report_rows.probe_id
inner join report_columns on cells.query_id = report_columns.sample_id
