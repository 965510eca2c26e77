-- One row a (run, control by random draws, draw, query): what one draw did to a query, and how the scorecard names the
-- control. A draw is a set of samples removed at random, or a shuffling of learned weights.
create or replace temp table mart_control_draws as
with runs as (
    select * from stg_runs
),

changes as (
    select * from mart_action_changes
),

removed as (
    select distinct
        run,
        base,
        trainings,
        seed,
        training_set,
        share,
        query,
        'random' || case when is_single then ', single decisions' else '' end as kind
    from mart_removal
),

removals as (
    select distinct
        base,
        recipe as trainings,
        seed,
        training_set,
        share,
        training,
        reference
    from actions
    where kind = 'remove' and method = 'random'
),

ignored as (
    select
        *,
        concat_ws(', ', case when is_learned_on then 'learned on' end, setting) as kind
    from mart_ignoring
    where method = 'shuffled'
),

draws as (
    select
        removed.run,
        'removal' as desideratum,
        removed.kind || printf(' %g%%', 100 * removed.share) || ': nats' as variant,
        removed.kind,
        removed.share as level,
        removals.training as draw,
        removed.query,
        changes.change as value
    from removed
    inner join removals using (base, trainings, seed, training_set, share)
    inner join changes using (base, trainings, seed, training_set, training, reference, query)

    union all

    select
        run,
        'ignoring' as desideratum,
        concat_ws(', ', 'shuffled', nullif(kind, '')) as variant,
        nullif(kind, '') as kind,
        cast(null as double) as level,
        training as draw,
        query,
        change as value
    from ignored
)

select
    runs.arm,
    draws.*
from draws
inner join runs using (run)
