-- One row a wanted pair that stands in the table more than once ($queries query numbers).
with relations as (
    select * from stg_relations
),

suspects as (
    select probe
    from relations
    group by probe
    having count(*) > bit_count(bitstring_agg(query, 0, $queries))
)

select
    relations.probe,
    relations.query,
    count(*) as copies,
    min(relations.kind) as kind,
    min(relations.distance) as distance,
    count(distinct coalesce(relations.kind, 0)) > 1 or count(distinct coalesce(relations.distance, -1)) > 1 as disagree
from relations
semi join suspects using (probe)
group by relations.probe, relations.query
having count(*) > 1
