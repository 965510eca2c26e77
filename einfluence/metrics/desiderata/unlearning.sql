-- One row a (run, query, variant): how near does an unlearned model come to the one that was trained without the forget
-- set, and what did it cost? Seen from the model trained on all, which is the null.
with unlearnings as (
    select * from mart_unlearning
),

scores as (
    select * from training_scores
    where isfinite(logprob)
),

gaps as (
    select
        run,
        query,
        name,
        place,
        abs(logprob - logprob_retrained) as gap,
        abs(logprob_full - logprob_retrained) as gap_full
    from unlearnings
),

-- The same retraining at other seeds.
retrainings as (
    select distinct
        run,
        base,
        trainings,
        seed,
        about,
        reference,
        place,
        query,
        query_id,
        logprob_full,
        logprob_retrained
    from unlearnings
),

at_other_seeds as (
    select
        own.run,
        own.query,
        own.about,
        own.place,
        avg(abs(other.logprob - own.logprob_retrained)) as gap,
        any_value(abs(own.logprob_full - own.logprob_retrained)) as gap_full
    from retrainings as own
    inner join scores as other
        on
            own.base = other.base
            and own.trainings = other.recipe
            and own.reference = other.training
            and own.query_id = other.query_id
            and own.seed <> other.seed
    group by own.run, own.query, own.about, own.place
),

decisions as (
    select
        run,
        query,
        name,
        is_first - is_first_retrained as gained,
        is_first_full - is_first_retrained as gained_full,
        case place when 'forget' then 1 when 'rest' then 2 else 3 end as part
    from unlearnings
    where is_first is not null and is_first_full is not null and is_first_retrained is not null
),

-- Of each forgotten sample the share of the queries held out that are less likely, ties half: the mean is the AUC.
compared as (
    select
        own.run,
        own.query,
        own.name,
        any_value(own.about) as about,
        avg((sign(own.logprob - other.logprob) + 1) / 2) as behind,
        avg((sign(own.logprob_full - other.logprob_full) + 1) / 2) as behind_full,
        avg((sign(own.logprob_retrained - other.logprob_retrained) + 1) / 2) as behind_retrained
    from unlearnings as own
    inner join unlearnings as other using (run, name)
    where own.place = 'forget' and other.place = 'held out'
    group by own.run, own.query, own.name
),

retrained as (
    select
        run,
        query,
        about,
        any_value(behind_retrained) as behind_retrained,
        any_value(behind_full) as behind_full
    from compared
    group by run, query, about
)

select
    run,
    query,
    name || ': gap closed, ' || place as variant,
    'gap closed' as formula,
    place as kind,
    name as partner,
    cast(null as varchar) as better,
    cast(null as varchar) as rule,
    gap as value,
    gap_full as weight,
    0.0 as null_value,
    1.0 as ideal,
    'closed' as summary
from gaps

union all

select
    run,
    query,
    'another seed without ' || about || ': gap closed, ' || place as variant,
    'ceiling' as formula,
    place as kind,
    about as partner,
    'neither' as better,
    cast(null as varchar) as rule,
    gap as value,
    gap_full as weight,
    0.0 as null_value,
    1.0 as ideal,
    'closed' as summary
from at_other_seeds

union all

select
    run,
    query,
    name || ': tow' as variant,
    'tow' as formula,
    cast(null as varchar) as kind,
    name as partner,
    cast(null as varchar) as better,
    cast(null as varchar) as rule,
    gained as value,
    part as weight,
    gained_full as null_value,
    1.0 as ideal,
    'agreement' as summary
from decisions

union all

select
    run,
    query,
    name || ': auc' as variant,
    'auc' as formula,
    'unlearned' as kind,
    name as partner,
    'neither' as better,
    cast(null as varchar) as rule,
    behind as value,
    cast(null as double) as weight,
    behind_full as null_value,
    cast(null as double) as ideal,
    'mean' as summary
from compared

union all

select
    run,
    query,
    'retrained without ' || about || ': auc' as variant,
    'auc' as formula,
    'retrained' as kind,
    about as partner,
    'neither' as better,
    cast(null as varchar) as rule,
    behind_retrained as value,
    cast(null as double) as weight,
    behind_full as null_value,
    cast(null as double) as ideal,
    'mean' as summary
from retrained

union all

select
    run,
    query,
    name || ': cost' as variant,
    'cost' as formula,
    cast(null as varchar) as kind,
    name as partner,
    'lower' as better,
    'left' as rule,
    cost as value,
    cast(null as double) as weight,
    1.0 as null_value,
    0.0 as ideal,
    'mean' as summary
from unlearnings
where place = 'forget'
