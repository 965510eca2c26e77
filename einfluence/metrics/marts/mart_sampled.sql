-- One row a (run that measures some of its cells, probe): what its whole row of cells would give, by the cells that
-- were measured, plus what the control says of all cells less what it says of those, as far as it is followed. That is
-- without bias whatever the control says, and the nearer the better it is.
create or replace temp table mart_sampled as
with sums as (
    select * from mart_sampled_sums
),

followed as (
    select * from mart_followed
),

cells as (
    select
        run,
        probe,
        count(*) as n_cells,
        count(*) filter (where kind = 'unrelated') as n_unrelated,
        avg(found) filter (where own) as self_influence
    from mart_sampled_cells
    group by run, probe
)

select
    cells.*,
    measured.square_sum,
    measured.size_sum + coalesce(followed.followed * (whole.size_sum - control.size_sum), 0) as size_sum,
    measured.unevenness + coalesce(followed.followed * (whole.unevenness - control.unevenness), 0) as unevenness,
    greatest(
        measured.spread_over + coalesce(followed.followed * (whole.spread_over - control.spread_over), 0),
        1 / cells.n_cells
    ) as spread_over,
    measured.unrelated_size
    + coalesce(followed.followed * (whole.unrelated_size - control.unrelated_size), 0) as unrelated_size,
    measured.unrelated_influence
    + coalesce(followed.followed * (whole.unrelated_influence - control.unrelated_influence), 0) as unrelated_influence,
    measured.correlation + coalesce(followed.followed * (whole.correlation - control.correlation), 0) as correlation,
    measured.control_size
    + coalesce(followed.followed * (whole.control_size - control.control_size), 0) as control_size
from cells
inner join sums as measured on cells.run = measured.run and cells.probe = measured.probe and measured.side = 'measured'
left join sums as control on cells.run = control.run and cells.probe = control.probe and control.side = 'control'
left join sums as whole on cells.run = whole.run and cells.probe = whole.probe and whole.side = 'whole'
left join followed on cells.run = followed.run
