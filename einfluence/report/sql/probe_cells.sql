-- grain: one row a cell of $base worth naming: the $most that each probe helped most and hurt most in each arm, and
-- its named relations; report_chosen holds the probes
with
report_arms as (select * from report_arms),

report_cells as (select * from report_cells),

report_pairs as (select * from report_pairs),

report_queries as (select * from report_queries),

report_chosen as (select * from report_chosen),

cells as (
    select
        report_cells.arm,
        report_cells.probe,
        report_cells.query,
        report_cells.influence,
        report_cells.logprob_before
    from report_cells
    inner join report_chosen on report_cells.probe = report_chosen.probe
    inner join report_arms on report_cells.arm = report_arms.arm
    where report_arms.base = $base
),

ends as (
    select
        arm,
        probe,
        list_last(max(influence, $most)) as helped_from,
        list_last(min(influence, $most)) as hurt_from
    from cells
    group by arm, probe
),

claims as (
    select
        report_pairs.probe,
        report_pairs.query,
        report_pairs.kind
    from report_pairs
    inner join report_chosen on report_pairs.probe = report_chosen.probe
    where report_pairs.kind is not null and report_pairs.kind <> 'unrelated'
    qualify
        row_number()
            over (
                partition by report_pairs.probe
                order by report_pairs.kind = 'self' desc, report_pairs.kind, report_pairs.query asc
            )
        <= 12
),

marked as (
    select
        cells.*,
        claims.kind,
        cells.influence > 0 and cells.influence >= ends.helped_from as is_helped,
        cells.influence < 0 and cells.influence <= ends.hurt_from as is_hurt
    from cells
    inner join ends on cells.arm = ends.arm and cells.probe = ends.probe
    left join claims on cells.probe = claims.probe and cells.query = claims.query
)

select
    report_arms.estimator,
    report_arms.recipe,
    report_chosen.probe_id,
    report_queries.query_id,
    marked.kind,
    marked.influence,
    marked.logprob_before,
    marked.is_helped,
    marked.is_hurt
from marked
inner join report_arms on marked.arm = report_arms.arm
inner join report_chosen on marked.probe = report_chosen.probe
inner join report_queries on marked.query = report_queries.query
where marked.kind is not null or marked.is_helped or marked.is_hurt
order by
    marked.arm asc,
    marked.probe asc,
    marked.kind = 'self' desc nulls last,
    marked.influence desc,
    report_queries.query_id asc
