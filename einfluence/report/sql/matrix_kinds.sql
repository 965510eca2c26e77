-- grain: one row a cell of the heat map whose relation is named
with
relations as (select * from relations),
report_rows as (select * from report_rows),
report_columns as (select * from report_columns)
select
    report_rows.row_index,
    report_columns.column_index,
    relations.kind
from relations
inner join report_rows on relations.probe_id = report_rows.probe_id
inner join report_columns on relations.query_id = report_columns.sample_id
where relations.kind is not null and relations.kind <> 'unrelated'
