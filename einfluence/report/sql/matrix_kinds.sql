-- grain: one row a cell of the heat map whose relation is named
with
report_pairs as (select * from report_pairs),

report_rows as (select * from report_rows),

report_columns as (select * from report_columns)

select
    report_rows.row_index,
    report_columns.column_index,
    report_pairs.kind
from report_pairs
inner join report_rows on report_pairs.probe = report_rows.probe
inner join report_columns on report_pairs.query = report_columns.query
where report_pairs.kind is not null and report_pairs.kind <> 'unrelated'
