-- One row a (run, held-out query, variant): what did training with learned weights do to a query, beside the same
-- weights shuffled over the samples?
with ways as (
    select * from mart_ways
),

held_out as (
    select * from mart_held_out
),

scores as (
    select * from training_scores
    where step is null and isfinite(logprob)
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
),

changes as (
    select
        ignored.run,
        ignored.setting,
        ignored.method,
        held_out.query,
        not held_out.judges as is_learned_on,
        weighted.logprob - uniform.logprob as change
    from ignored
    inner join scores as weighted
        on
            ignored.base = weighted.base
            and ignored.trainings = weighted.recipe
            and ignored.seed = weighted.seed
            and ignored.training = weighted.training
    inner join scores as uniform
        on
            ignored.base = uniform.base
            and ignored.trainings = uniform.recipe
            and ignored.seed = uniform.seed
            and ignored.reference = uniform.training
            and weighted.query_id = uniform.query_id
            and weighted.engine_version = uniform.engine_version
    inner join held_out on ignored.training_set = held_out.training_set and weighted.query_id = held_out.query_id
),

gains as (
    select
        changes.run,
        changes.query,
        changes.is_learned_on,
        case when settings.n_settings > 1 then changes.setting end as setting,
        avg(changes.change) filter (where changes.method = 'learned') as gain,
        avg(changes.change) filter (where changes.method = 'shuffled') as shuffled
    from changes
    inner join settings using (run)
    group by all
)

select
    run,
    query,
    concat_ws(', ', 'gain', case when is_learned_on then 'learned on' end, setting) as variant,
    'gain' as formula,
    nullif(concat_ws(', ', case when is_learned_on then 'learned on' end, setting), '') as kind,
    'neither' as better,
    gain as value,
    shuffled as null_value,
    cast(null as double) as ideal,
    'mean' as summary
from gains
