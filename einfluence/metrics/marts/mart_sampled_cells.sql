-- One row a pair of a probe from $low up to $high (exclusive) of a run that measures some of its cells. `found` is what
-- was measured, where it counts: of what is claimed (`certain`) and of what is drawn (`read`), and of all where all is
-- there. `said` is what the control says, in the size of what was found in the cells that were drawn.
create or replace temp table mart_sampled_cells as
with sampled as (
    select * from stg_sampled
    where probe >= $low and probe < $high
),

cells as (
    select * from stg_cells
    where probe >= $low and probe < $high
),

pairs as (
    select
        sampled.run,
        sampled.probe,
        sampled.query,
        sampled.claimed,
        sampled.drawn,
        measured.influence as found,
        controls.influence as said,
        case when own.run is not null then own.distance else relations.distance end as distance,
        case
            when samples.own_query is not null then 'self'
            when own.run is not null then own.kind
            else kinds.kind
        end as kind,
        bool_and(measured.influence is not null) over (partition by sampled.run, sampled.probe) as whole
    from sampled
    inner join stg_relations as relations using (probe, query)
    left join stg_kinds as kinds on relations.kind = kinds.number
    left join stg_samples as samples on sampled.probe = samples.probe and sampled.query = samples.own_query
    left join stg_own_relations as own
        on sampled.run = own.run and sampled.probe = own.probe and sampled.query = own.query
    left join cells as measured
        on sampled.run = measured.run and sampled.probe = measured.probe and sampled.query = measured.query
    left join cells as controls
        on sampled.control_run = controls.run and sampled.probe = controls.probe and sampled.query = controls.query
),

placed as (
    select
        *,
        whole or claimed as certain,
        not whole and not claimed and drawn and found is not null as read
    from pairs
    where found is not null or not claimed  -- what was to be measured and could not be is left out, as everywhere
),

scaled as (
    select
        *,
        sum(abs(found)) filter (where read) over row_of as found_size,
        sum(abs(said)) filter (where read) over row_of as said_size,
        bool_and(said is not null) over row_of as has_control,
        count(*) filter (where read) over row_of as n_read,
        count(*) filter (where not certain) over row_of as n_rest
    from placed
    window row_of as (partition by run, probe)
),

usable as (
    select
        *,
        not coalesce(kind = 'self', false) and distance is not null as counts
    from scaled
    where n_read > 1 or n_rest = 0
),

near as (
    select
        *,
        case
            when counts
                then
                    rank() over by_distance
                    + (count(*) over (by_distance range between current row and current row) - 1) / 2.0
        end as distance_rank,
        count(*) filter (where counts) over (partition by run, probe) as n_counting
    from usable
    window by_distance as (partition by run, probe, counts order by distance)
)

select
    run,
    probe,
    query,
    kind,
    coalesce(kind = 'self', false) as own,
    certain,
    read,
    case when certain or read then found end as found,
    case
        when certain then found
        when has_control and said_size > 0 then said * found_size / said_size
    end as said,
    n_rest,
    distance_rank,
    n_counting,
    stddev_pop(distance_rank) over (partition by run, probe) as distance_spread,
    case  -- `least` would take a null for the limit
        when distance_rank is not null
            then cast(least(floor((distance_rank - 0.5) * 5 / n_counting) + 1, 5) as integer)
    end as bin
from near
