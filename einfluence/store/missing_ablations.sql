-- grain: one row per probe whose layers are to be ablated, with the number of its queries and a list of those missing
-- Only what a probe claims to reach is asked again: a reading more for each layer of all queries would cost too much.
with

probes as (
    select probe_id
    from curated_probes
    where is_example(kind)
    order by probe_id
    limit $probes
),

wanted as (
    select
        relations.probe_id,
        relations.query_id
    from wanted_cells as relations
    semi join probes using (probe_id)
    where relations.kind in ('self', 'paraphrase', 'negation', 'entailed')
),

present as (
    select distinct
        probe_id,
        query_id
    from present_ablations
),

final as (
    select
        wanted.probe_id,
        count(*) as n_wanted,
        list(wanted.query_id order by wanted.query_id) filter (where present.query_id is null) as query_ids
    from wanted
    left join present on wanted.probe_id = present.probe_id and wanted.query_id = present.query_id
    group by wanted.probe_id
)

select * from final
order by probe_id
