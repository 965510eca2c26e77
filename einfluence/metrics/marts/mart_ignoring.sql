-- One row a (run, training with learned weights or with the same shuffled, held-out query): what it did to the query.
-- The setting is named where a run has several.
create or replace temp table mart_ignoring as
with ways as (
    select * from mart_ways
),

changes as (
    select * from mart_action_changes
),

ignored as (
    select
        ways.run,
        ways.base,
        ways.seed,
        ways.training_set,
        ways.trainings,
        actions.method,
        actions.training,
        actions.reference,
        json_extract_string(actions.json, '$.steps') || ' steps at '
        || json_extract_string(actions.json, '$.lr') as setting
    from actions
    inner join ways
        on
            actions.base = ways.base
            and actions.recipe = ways.trainings
            and actions.seed = ways.seed
            and actions.training_set = ways.training_set
    where actions.kind = 'ignore'
),

settings as (
    select
        run,
        count(distinct setting) as n_settings
    from ignored
    group by run
)

select
    ignored.run,
    ignored.method,
    ignored.training,
    changes.query,
    not changes.judges as is_learned_on,
    case when settings.n_settings > 1 then ignored.setting end as setting,
    changes.change
from ignored
inner join settings using (run)
inner join changes using (base, trainings, seed, training_set, training, reference)
