-- grain: one row a cell of one arm's heat map; report_rows and report_columns hold the axes
with
report_cells as (select * from report_cells),

report_rows as (select * from report_rows),

report_columns as (select * from report_columns)

select
    report_rows.row_index,
    report_columns.column_index,
    report_cells.influence
from report_cells
inner join report_rows on report_cells.probe = report_rows.probe
inner join report_columns on report_cells.query = report_columns.query
where report_cells.arm = $arm
