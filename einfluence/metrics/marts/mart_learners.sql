-- One row a (run, probe of one sample): what an ideal learner scores on the very queries of the row. It does what each
-- claim says, and elsewhere fades with distance so steeply that the order is right and the size does not count.
with cells as (
    select
        run,
        probe,
        query,
        kind,
        distance
    from mart_cells
    semi join stg_samples using (probe)
),

met as (
    select
        run,
        probe,
        bit_xor(hash(query)) as asked
    from cells
    group by run, probe
),

-- It does not depend on the arm: of rows with the same queries one is looked at.
alike as (
    select
        run,
        probe,
        asked,
        min(run) over (partition by probe, asked) as looked_at
    from met
),

looked_at as (
    select distinct
        looked_at as run,
        probe
    from alike
),

claimed as (
    select
        cells.run,
        cells.probe,
        cells.distance,
        coalesce(cells.kind = 'self', false) as own,
        case
            when cells.kind in ('self', 'paraphrase', 'entailed', 'contrapositive', 'negation') then 1.0
            when cells.kind in ('near_duplicate', 'contradiction') then 1.0
            when cells.kind = 'reversed' then 0.0
        end as size
    from cells
    inner join looked_at on cells.run = looked_at.run and cells.probe = looked_at.probe
),

moved as (
    select
        run,
        probe,
        count(*) as n_cells,
        count(*) filter (where size = 1) as n_moved
    from claimed
    group by run, probe
),

placed as (
    select
        run,
        probe,
        coalesce(size, 0.5) as tier,
        case when size is null then -distance else 0 end as nearness,
        distance
    from claimed
    where not own and distance is not null
),

ranked as (
    select
        run,
        probe,
        rank() over large + (count(*) over (large range between current row and current row) - 1) / 2.0 as size_rank,
        rank() over near + (count(*) over (near range between current row and current row) - 1) / 2.0 as distance_rank
    from placed
    window
        large as (partition by run, probe order by tier, nearness),
        near as (partition by run, probe order by distance)
),

ordered as (
    select
        run,
        probe,
        case
            when stddev_pop(size_rank) > 0 and stddev_pop(distance_rank) > 0 then -corr(size_rank, distance_rank)
        end as decay
    from ranked
    group by run, probe
)

select
    alike.run,
    alike.probe,
    alike.asked,
    ordered.decay as ideal_decay,
    -- k of n sizes are 1 and the rest 0: the Gini coefficient is 1 - k/n and the participation ratio k/n.
    case when moved.n_moved > 0 then 1 - moved.n_moved / moved.n_cells end as ideal_gini,
    case when moved.n_moved > 0 then moved.n_moved / moved.n_cells end as ideal_participation
from alike
inner join moved on alike.looked_at = moved.run and alike.probe = moved.probe
left join ordered on alike.looked_at = ordered.run and alike.probe = ordered.probe
