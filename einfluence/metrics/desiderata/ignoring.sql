-- One row a (run, held-out query, variant): what did training with learned weights do to a query, beside the same
-- weights shuffled over the samples? They are learned on the half whose ids end in 0 to 7.
with ways as (
    select * from mart_ways
),

members as (
    select * from training_set_members
),

queries as (
    select * from stg_queries
),

scores as (
    select * from training_scores
    where step is null and isfinite(logprob)
),

second_stages as (
    select
        training_set,
        unnest(json_extract_string(json, '$.then.samples[*]')) as sample_id
    from training_sets
),

trained_on as (
    select
        training_set,
        sample_id
    from members
    union
    select
        training_set,
        sample_id
    from second_stages
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
        queries.query,
        queries.query_id,
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
    inner join queries on weighted.query_id = queries.query_id
    anti join trained_on on ignored.training_set = trained_on.training_set and weighted.query_id = trained_on.sample_id
),

gains as (
    select
        changes.run,
        changes.query,
        changes.query_id[-1:] < '8' as is_learned_on,
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
