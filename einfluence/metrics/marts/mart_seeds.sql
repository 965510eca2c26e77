-- One row a (run, probe of a sample, later run of the same arm with another seed): rank correlation of the two rows.
with runs as (
    select
        *,
        count(*) over (partition by arm) as n_seeds
    from stg_runs
),

cells as (
    select
        runs.arm,
        cells.run,
        cells.probe,
        cells.query,
        cells.influence
    from mart_cells as cells
    inner join runs using (run)
    semi join stg_samples as samples on cells.probe = samples.probe
    where runs.n_seeds > 1 and cells.kind is distinct from 'self'
),

ranked as (
    select
        first.run,
        second.run as other_run,
        first.probe,
        rank() over one + (count(*) over (one range between current row and current row) - 1) / 2.0 as first_rank,
        rank() over two + (count(*) over (two range between current row and current row) - 1) / 2.0 as second_rank
    from cells as first
    inner join cells as second
        on
            first.arm = second.arm
            and first.probe = second.probe
            and first.query = second.query
            and first.run < second.run
    window
        one as (partition by first.run, second.run, first.probe order by first.influence),
        two as (partition by first.run, second.run, first.probe order by second.influence)
)

select
    run,
    other_run,
    probe,
    case when stddev_pop(first_rank) > 0 and stddev_pop(second_rank) > 0 then corr(first_rank, second_rank) end
        as correlation
from ranked
group by run, other_run, probe
