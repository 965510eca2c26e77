-- One row a (run of random subsets, sample with a paraphrase or near-duplicate in its set, variant): what does it owe
-- to itself, with the other in the set and without?
with samples as (
    select * from stg_probes
    where kind = 'sample' and n_members = 1
),

members as (
    select * from training_set_members
),

pairs as (
    select
        own.training_set,
        samples.probe,
        samples.probe_id,
        samples.sample_id,
        relations.query_id,
        own.position,
        twin.position as twin_position
    from relations
    inner join samples using (probe_id)
    inner join members as own on samples.sample_id = own.sample_id
    inner join members as twin on own.training_set = twin.training_set and relations.query_id = twin.sample_id
    where relations.kind in ('paraphrase', 'near_duplicate') and own.position <> twin.position
),

-- By the parts of the arm itself.
unclaimed as (
    select * from arm_relations
    where coalesce(kind, 'unrelated') not in ('paraphrase', 'near_duplicate')
),

drawn as (
    select
        runs.run,
        subset_trainings.*
    from subset_trainings
    inner join stg_runs as runs using (estimator, base, recipe, seed)
),

weights as (
    select * from training_weights
    where weight = 0
),

said as (
    select
        drawn.run,
        pairs.probe,
        pairs.twin_position,
        scores.logprob,
        own.training is null as there,
        twin.training is null as twin_there
    from drawn
    inner join pairs using (training_set)
    anti join unclaimed
        on
            drawn.base = unclaimed.base
            and drawn.recipe = unclaimed.recipe
            and pairs.probe_id = unclaimed.probe_id
            and pairs.query_id = unclaimed.query_id
    inner join training_scores as scores
        on
            drawn.base = scores.base
            and drawn.trainings = scores.recipe
            and drawn.seed = scores.seed
            and drawn.training = scores.training
            and pairs.sample_id = scores.query_id
    left join weights as own on drawn.training = own.training and pairs.position = own.position
    left join weights as twin on drawn.training = twin.training and pairs.twin_position = twin.position
),

by_twin as (
    select
        run,
        probe,
        twin_position,
        avg(logprob) filter (where there and twin_there)
        - avg(logprob) filter (where not there and twin_there) as beside,
        avg(logprob) filter (where there and not twin_there)
        - avg(logprob) filter (where not there and not twin_there) as without
    from said
    group by run, probe, twin_position
),

owed as (
    select
        run,
        probe,
        avg(beside) as beside,
        avg(without) as without
    from by_twin
    where beside is not null and without is not null
    group by run, probe
)

select
    run,
    probe,
    'nats' as variant,
    'lower' as better,
    beside - without as value,
    cast(null as double) as weight,
    0.0 as null_value,
    cast(null as double) as ideal,
    'mean' as summary
from owed

union all

select
    run,
    probe,
    'ratio' as variant,
    'lower' as better,
    beside as value,
    without as weight,
    1.0 as null_value,
    cast(null as double) as ideal,
    'quotient' as summary
from owed
