-- One row a (run, sample of a training set or held-out query, variant): how well was a sample answered before it was
-- known by heart, along the training that was watched (Kang et al. 2024)? Its answer queries are its paraphrases that
-- trained on in no stage; it counts as known by heart from under τ nats a token of its own target on.
with ways as (
    select * from mart_ways
),

members as (
    select * from training_set_members
),

trained_on as (
    select * from trained_on
),

queries as (
    select * from stg_queries
),

claims as (
    select
        stg_probes.probe,
        stg_probes.sample_id,
        relations.query_id,
        relations.kind
    from relations
    inner join stg_probes using (probe_id)
    where stg_probes.kind = 'sample' and stg_probes.n_members = 1 and relations.kind is not null
),

done as (
    select
        ways.run,
        ways.training_set,
        scores.query_id,
        trainings.kind = 'full' as at_end,
        coalesce(scores.step, 2147483647) as step,
        cast(scores.rank = 1 as integer) as is_first,
        -scores.logprob / scores.n_tokens as nats
    from ways
    inner join trainings
        on
            ways.base = trainings.base
            and ways.trainings = trainings.recipe
            and ways.seed = trainings.seed
            and ways.training_set = trainings.training_set
    inner join training_scores as scores
        on
            trainings.base = scores.base
            and trainings.recipe = scores.recipe
            and trainings.seed = scores.seed
            and trainings.training = scores.training
            and trainings.engine_version is not distinct from scores.engine_version
    where trainings.kind in ('full', 'watched') and trainings.status = 'done'
),

watched as (
    select run
    from done
    group by run
    having bool_or(at_end) and bool_or(not at_end)
),

answers as (
    select distinct
        members.training_set,
        claims.probe,
        claims.sample_id,
        claims.query_id
    from claims
    inner join members using (sample_id)
    anti join trained_on
        on members.training_set = trained_on.training_set and claims.query_id = trained_on.sample_id
    where claims.kind = 'paraphrase'
),

-- Of each step, how a sample's paraphrases are answered, and how far the sample itself is from being known.
along as (
    select
        own.run,
        answers.probe,
        own.step,
        own.at_end,
        any_value(own.nats) as nats,
        avg(said.is_first) as accuracy
    from done as own
    semi join watched using (run)
    inner join answers on own.training_set = answers.training_set and own.query_id = answers.sample_id
    inner join done as said
        on own.run = said.run and own.step = said.step and answers.query_id = said.query_id
    group by own.run, answers.probe, own.step, own.at_end
),

levels as (
    select unnest(cast([0.01, 0.03, 0.1, 0.3, 1.0] as double[])) as tau
),

pre as (
    select
        along.run,
        along.probe,
        levels.tau,
        least(
            max(case when along.nats >= levels.tau then along.accuracy else 0.0 end),
            max(along.accuracy) filter (where along.at_end)
        ) as accuracy,
        max(along.accuracy) filter (where along.at_end) as train_accuracy
    from along
    cross join levels
    group by along.run, along.probe, levels.tau
    having bool_or(along.at_end)
),

related as (
    select distinct
        members.training_set,
        claims.query_id
    from claims
    inner join members using (sample_id)
    where claims.kind not in ('sibling', 'neighbour', 'unrelated')
),

held_out as (
    select
        done.run,
        done.query_id,
        done.is_first
    from done
    semi join watched using (run)
    anti join trained_on on done.training_set = trained_on.training_set and done.query_id = trained_on.sample_id
    anti join related on done.training_set = related.training_set and done.query_id = related.query_id
    where done.at_end
),

baselines as (
    select
        run,
        avg(is_first) as accuracy
    from held_out
    group by run
),

named as (
    select
        *,
        case when tau = 0.1 then '' else ', τ ' || format('{:g}', tau) end as mark
    from pre
)

select
    run,
    probe,
    cast(null as integer) as query,
    'accuracy' || mark as variant,
    'accuracy' as formula,
    cast(null as varchar) as kind,
    tau as level,
    'neither' as better,
    accuracy as value,
    train_accuracy as null_value,
    cast(null as double) as ideal,
    'mean' as summary
from named

union all

select
    named.run,
    named.probe,
    cast(null as integer) as query,
    'gap' || named.mark as variant,
    'gap' as formula,
    cast(null as varchar) as kind,
    named.tau as level,
    'neither' as better,
    named.accuracy - baselines.accuracy as value,
    named.train_accuracy - baselines.accuracy as null_value,
    0.0 as ideal,
    'mean' as summary
from named
inner join baselines using (run)

union all

select
    held_out.run,
    cast(null as integer) as probe,
    queries.query,
    'accuracy, held out' as variant,
    'accuracy' as formula,
    'held out' as kind,
    cast(null as double) as level,
    'neither' as better,
    held_out.is_first as value,
    cast(null as double) as null_value,
    cast(null as double) as ideal,
    'mean' as summary
from held_out
inner join queries using (query_id)
semi join pre using (run)
