-- One row a (run, choice of samples, share of the set, query that judges it): what their removal did to the query, what
-- it was predicted to do, and what removing as many at random did. Of choices for single queries, those queries alone.
-- A choice by a user's query is no arm's: it is a row of the first arm whose trainings these are.
create or replace temp table mart_removal as
with runs as (
    select * from stg_runs
),

cells as (
    select * from stg_cells
),

ways as (
    select * from mart_ways
),

members as (
    select * from training_set_members
),

changes as (
    select * from mart_action_changes
),

removals as (
    select
        *,
        recipe as trainings
    from actions
    where kind = 'remove'
),

by_arms as (
    select
        runs.run,
        removals.*,
        removals.method || case when removals.query_id is not null then ', single decisions' else '' end as which
    from removals
    inner join runs
        on
            removals.base = runs.base
            and removals.seed = runs.seed
            and removals.chosen_by = runs.recipe
),

by_users as (
    select
        ways.run,
        removals.*,
        removals.method || ' by ' || parse_filename(json_extract_string(removals.json, '$.by')) as which
    from removals
    inner join ways using (base, seed, training_set, trainings)
    where removals.chosen_by is null and removals.method <> 'random'
),

named as (
    select * from by_arms
    union all
    select * from by_users
),

chosen as (
    select distinct
        run,
        which,
        chosen_by is not null as is_predicted,
        base,
        trainings,
        seed,
        training_set,
        share,
        training,
        reference,
        query_id
    from named
),

drawn as (
    select distinct
        base,
        trainings,
        seed,
        training_set,
        share,
        training,
        reference
    from removals
    where method = 'random'
),

at_random as (
    select
        drawn.base,
        drawn.trainings,
        drawn.seed,
        drawn.training_set,
        drawn.share,
        changes.query,
        avg(changes.change) as change
    from drawn
    inner join changes using (base, trainings, seed, training_set, training, reference)
    group by all
),

measured as (
    select
        chosen.*,
        changes.query,
        changes.change
    from chosen
    inner join changes using (base, trainings, seed, training_set, training, reference)
    where coalesce(chosen.query_id = changes.query_id, changes.judges)
),

-- Which probes were removed: single samples, and groups of which one is no probe by itself.
to_predict as (
    select distinct
        run,
        training,
        training_set
    from chosen
    where is_predicted
),

to_look_up as (
    select distinct
        training,
        training_set
    from to_predict
),

gone as (
    select
        weights.training,
        members.training_set,
        members.sample_id
    from training_weights as weights
    inner join to_look_up using (training)
    inner join members using (training_set, position)
    where weights.weight = 0
),

probes as (
    select
        stg_probes.probe,
        probe_members.sample_id,
        stg_probes.n_members
    from stg_probes
    inner join probe_members using (probe_id)
    where (is_example(stg_probes.kind) or stg_probes.kind = 'bundle')
),

inside as (
    select
        gone.training,
        gone.training_set,
        gone.sample_id,
        probes.probe,
        probes.n_members,
        bool_or(probes.n_members = 1) over (partition by gone.training, gone.training_set, gone.sample_id)
            as stands_alone
    from gone
    inner join probes using (sample_id)
    qualify count(*) over (partition by gone.training, gone.training_set, probes.probe) = probes.n_members
),

units as (
    select
        training,
        training_set,
        probe,
        any_value(n_members) as n_members
    from inside
    group by training, training_set, probe
    having any_value(n_members) = 1 or not bool_and(stands_alone)
),

sizes as (
    select
        training,
        training_set,
        count(*) as n_gone
    from gone
    group by training, training_set
),

predicted as (
    select
        to_predict.run,
        to_predict.training,
        cells.query,
        -sum(cells.influence) as change
    from to_predict
    inner join units using (training, training_set)
    inner join sizes using (training, training_set)
    inner join cells on to_predict.run = cells.run and units.probe = cells.probe
    group by to_predict.run, to_predict.training, cells.query
    having sum(units.n_members) = any_value(sizes.n_gone)
)

select
    measured.run,
    measured.base,
    measured.trainings,
    measured.seed,
    measured.training_set,
    measured.which,
    measured.share,
    measured.query,
    measured.query_id is not null as is_single,
    measured.change,
    predicted.change as predicted,
    at_random.change as at_random
from measured
left join predicted using (run, training, query)
left join at_random using (base, trainings, seed, training_set, share, query)
