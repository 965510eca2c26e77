-- grain: one row an arm that a base and what it was trained to both have, and probe of one row: the mean over seeds of
-- how alike its rows of influence are, and their sizes before and after
with
changes as (
    select * from base_changes
    where base = $before and other_base = $base and isfinite(size) and isfinite(other_size)
),

clusters as (select * from report_clusters),

samples as (
    select probe_id from probes
    where is_example(kind)
)

select
    changes.other_base as base,
    changes.estimator,
    changes.recipe,
    changes.probe_id,
    any_value(clusters.cluster) as cluster,
    avg(changes.spearman) as spearman,
    avg(changes.size) as size,
    avg(changes.other_size) as other_size
from changes
semi join samples using (probe_id)
inner join clusters using (probe_id)
where changes.spearman is not null
group by changes.other_base, changes.estimator, changes.recipe, changes.probe_id
order by changes.estimator, changes.recipe, changes.probe_id
