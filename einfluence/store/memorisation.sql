-- grain: one row per arm within a training set, or estimate of one (base, estimator, recipe, seed), and sample of it
-- An arm of random subsets compares the trainings that had the sample with those that had it not (Feldman and Zhang
-- 2020); every other arm says itself what the sample's presence adds. The null is the presence of another sample.
create or replace view memorisation as
with

cells as (
    select * from influence
),

samples as (
    select * from samples
),

weights as (
    select * from training_weights
    where weight = 0
),

scores as (
    select * from training_scores
),

drawn as (
    select * from subset_trainings
),

full_trainings as (
    select * from trainings
    where kind = 'full' and status = 'done'
),

arms as (
    select * from arms_of_sets
),

alone as (
    select * from single_probes
),

trained_on as (
    select * from trained_on
),

members as (
    select
        training_set,
        position,
        sample_id,
        coalesce(lead(sample_id) over by_content, first_value(sample_id) over by_content) as other_id,
        coalesce(lead(position) over by_content, first_value(position) over by_content) as other_position
    from training_set_members
    window by_content as (partition by training_set order by sample_id)
),

classes as (
    select
        sample_id,
        label,
        coalesce(noise = 'label_flip', false) as mislabelled
    from samples
),

flips as (
    select members.training_set
    from members
    inner join classes using (sample_id)
    group by members.training_set
    having bool_or(classes.mislabelled)
),

pairs as (
    select
        members.training_set,
        members.sample_id,
        alone.probe_id,
        true as own
    from members
    inner join alone on members.sample_id = alone.sample_id
    union all
    select
        members.training_set,
        members.sample_id,
        alone.probe_id,
        false as own
    from members
    inner join alone on members.other_id = alone.sample_id
    where members.other_id <> members.sample_id
),

within as (
    select
        cells.*,
        arms.training_set,
        arms.trainings,
        cast(cells.rank_after = 1 as integer) - cast(cells.rank_before = 1 as integer) as gained
    from cells
    inner join arms using (estimator, recipe)
    where isfinite(cells.influence)
),

as_reported as (
    select
        within.base,
        within.estimator,
        within.recipe,
        within.seed,
        within.training_set,
        within.trainings,
        pairs.sample_id,
        avg(within.influence) filter (where pairs.own) as nats,
        avg(within.gained) filter (where pairs.own) as decision,
        avg(within.influence) filter (where not pairs.own) as null_nats,
        avg(within.gained) filter (where not pairs.own) as null_decision
    from within
    inner join pairs
        on
            within.training_set = pairs.training_set
            and within.probe_id = pairs.probe_id
            and within.query_id = pairs.sample_id
    group by all
),

by_subsets as (
    select
        drawn.base,
        drawn.estimator,
        drawn.recipe,
        drawn.seed,
        drawn.training_set,
        members.sample_id,
        avg(scores.logprob) filter (where own.training is null)
        - avg(scores.logprob) filter (where own.training is not null) as nats,
        avg(cast(scores.rank = 1 as integer)) filter (where own.training is null)
        - avg(cast(scores.rank = 1 as integer)) filter (where own.training is not null) as decision,
        avg(scores.logprob) filter (where other.training is null)
        - avg(scores.logprob) filter (where other.training is not null) as null_nats,
        avg(cast(scores.rank = 1 as integer)) filter (where other.training is null)
        - avg(cast(scores.rank = 1 as integer)) filter (where other.training is not null) as null_decision
    from drawn
    inner join scores
        on
            drawn.base = scores.base
            and drawn.trainings = scores.recipe
            and drawn.seed = scores.seed
            and drawn.training = scores.training
    inner join members on drawn.training_set = members.training_set and scores.query_id = members.sample_id
    left join weights as own on drawn.training = own.training and members.position = own.position
    left join weights as other on drawn.training = other.training and members.other_position = other.position
    group by all
),

on_held_out as (
    select
        within.base,
        within.estimator,
        within.recipe,
        within.seed,
        within.probe_id,
        avg(within.influence) as held_out,
        sum(within.influence) filter (where asked.label = own.label) as class_held_out
    from within
    inner join alone on within.probe_id = alone.probe_id
    inner join classes as own on alone.sample_id = own.sample_id
    inner join classes as asked on within.query_id = asked.sample_id
    anti join trained_on on within.training_set = trained_on.training_set and within.query_id = trained_on.sample_id
    group by all
),

after_all as (
    select
        full_trainings.base,
        full_trainings.recipe as trainings,
        full_trainings.seed,
        full_trainings.training_set,
        scores.query_id as sample_id,
        any_value(scores.logprob) as logprob,
        any_value(scores.rank) as rank
    from full_trainings
    inner join scores using (base, recipe, seed, training)
    group by all
),

final as (
    select
        said.base,
        said.estimator,
        said.recipe,
        said.seed,
        said.training_set,
        alone.probe_id,
        said.sample_id,
        case when said.estimator = 'subsets' then counted.nats else said.nats end as nats,
        case when said.estimator = 'subsets' then counted.decision else said.decision end as decision,
        case when said.estimator = 'subsets' then counted.null_nats else said.null_nats end as null_nats,
        case when said.estimator = 'subsets' then counted.null_decision else said.null_decision end as null_decision,
        on_held_out.held_out,
        on_held_out.class_held_out,
        after_all.logprob,
        after_all.rank,
        case when flips.training_set is not null then classes.mislabelled end as mislabelled
    from as_reported as said
    inner join alone on said.sample_id = alone.sample_id
    left join by_subsets as counted
        on
            said.base = counted.base
            and said.estimator = counted.estimator
            and said.recipe = counted.recipe
            and said.seed = counted.seed
            and said.sample_id = counted.sample_id
    left join on_held_out
        on
            said.base = on_held_out.base
            and said.estimator = on_held_out.estimator
            and said.recipe = on_held_out.recipe
            and said.seed = on_held_out.seed
            and alone.probe_id = on_held_out.probe_id
    left join after_all
        on
            said.base = after_all.base
            and said.trainings = after_all.trainings
            and said.seed = after_all.seed
            and said.training_set = after_all.training_set
            and said.sample_id = after_all.sample_id
    left join classes on said.sample_id = classes.sample_id
    left join flips on said.training_set = flips.training_set
)

select * from final
