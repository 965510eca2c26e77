-- grain: one row a query that is called $name, or whose id begins with it
with
samples as (select * from samples),

influence as (select * from influence)

select
    sample_id,
    name,
    modality,
    prompt,
    target,
    label,
    label_name
from samples
where
    (name = $name or starts_with(sample_id, $name))
    and exists (select 1 from influence where influence.query_id = samples.sample_id)
order by name, sample_id
