-- grain: one row a sample that the page names; report_samples holds their ids in the page's order
with
samples as (select * from samples),

report_samples as (select * from report_samples)

select
    report_samples.sample_index,
    samples.*
from report_samples
inner join samples on report_samples.sample_id = samples.sample_id
order by report_samples.sample_index
