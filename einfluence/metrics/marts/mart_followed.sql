-- One row a run that measures some of its cells: how far its control is followed, from 0 to 1: the rank correlation of
-- what was measured with what it says, in size, over a probe's cells that were drawn, averaged over probes.
create or replace temp table mart_followed as
with sampled as (
    select * from stg_sampled
    where drawn and not claimed and control_run is not null
),

cells as (
    select * from stg_cells
),

ranked as (
    select
        sampled.run,
        sampled.probe,
        rank() over own + (count(*) over (own range between current row and current row) - 1) / 2.0 as own_rank,
        rank() over said + (count(*) over (said range between current row and current row) - 1) / 2.0 as said_rank
    from sampled
    inner join cells as measured
        on sampled.run = measured.run and sampled.probe = measured.probe and sampled.query = measured.query
    inner join cells as controls
        on sampled.control_run = controls.run and sampled.probe = controls.probe and sampled.query = controls.query
    window
        own as (partition by sampled.run, sampled.probe order by abs(measured.influence)),
        said as (partition by sampled.run, sampled.probe order by abs(controls.influence))
),

alike as (
    select
        run,
        probe,
        case when stddev_pop(own_rank) > 0 and stddev_pop(said_rank) > 0 then corr(own_rank, said_rank) end as spearman
    from ranked
    group by run, probe
)

select
    run,
    greatest(coalesce(avg(spearman), 0), 0) as followed
from alike
group by run
