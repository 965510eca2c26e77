-- One row a (run that measures some of its cells, sample's probe, fifth of the queries by distance): as mart_bins.
with ranks as (
    select * from mart_sampled_ranks
    where bin is not null
),

followed as (
    select * from mart_followed
),

counts as (
    select
        run,
        probe,
        bin,
        count(*) as n_cells,
        count(*) filter (where not certain) as n_rest
    from mart_sampled_cells
    where bin is not null
    group by run, probe, bin
),

-- One of the rest stands for as many as the fifth has of them; a fifth with none that was read has no mean.
means as (
    select
        ranks.side,
        ranks.run,
        ranks.probe,
        ranks.bin,
        (
            coalesce(sum(ranks.size) filter (where ranks.certain), 0)
            + case
                when any_value(counts.n_rest) = 0 then 0
                else any_value(counts.n_rest) * avg(ranks.size) filter (where not ranks.certain)
            end
        ) / any_value(counts.n_cells) as size
    from ranks
    inner join counts using (run, probe, bin)
    semi join stg_samples using (probe)
    group by ranks.side, ranks.run, ranks.probe, ranks.bin
)

select
    measured.run,
    measured.probe,
    measured.bin,
    measured.size + coalesce(followed.followed * (whole.size - control.size), 0) as size
from means as measured
left join means as control
    on
        measured.run = control.run and measured.probe = control.probe and measured.bin = control.bin
        and control.side = 'control'
left join means as whole
    on
        measured.run = whole.run and measured.probe = whole.probe and measured.bin = whole.bin and whole.side = 'whole'
left join followed on measured.run = followed.run
where measured.side = 'measured' and measured.size is not null
