-- grain: one row an arm within a training set, reason and sample: the $most suspicious samples of each reason
-- Of several seeds the mean. Near is a distance of at most 0.05 by the part's first measure.
with
memorisation as (select * from memorisation),

recipes as (select * from recipes),

bases as (select * from bases),

samples as (select * from samples),

members as (select * from training_set_members),

relations as (select * from relations),

arm_relations as (select * from arm_relations),

arms as (
    select
        base,
        estimator,
        recipe,
        training_set,
        probe_id,
        sample_id,
        avg(nats) as nats,
        avg(held_out) as held_out,
        avg(class_held_out) as class_held_out,
        avg(logprob) as logprob
    from memorisation
    group by base, estimator, recipe, training_set, probe_id, sample_id
),

pairs as (
    select
        arms.base,
        arms.recipe,
        arms.training_set,
        arms.sample_id,
        relations.query_id,
        case when own.base is not null then own.kind else relations.kind end as kind,
        case when own.base is not null then own.distance else relations.distance end as distance
    from arms
    inner join relations using (probe_id)
    left join arm_relations as own
        on
            arms.base = own.base
            and arms.recipe = own.recipe
            and relations.probe_id = own.probe_id
            and relations.query_id = own.query_id
    where arms.sample_id <> relations.query_id
),

twins as (
    select
        pairs.base,
        pairs.recipe,
        pairs.training_set,
        pairs.sample_id,
        arg_min(samples.name, (coalesce(pairs.distance, 0), samples.name)) as twin,
        min(pairs.distance) as distance,
        coalesce(pairs.kind = 'contradiction', false) as contradicts
    from pairs
    inner join members on pairs.training_set = members.training_set and pairs.query_id = members.sample_id
    inner join samples on members.sample_id = samples.sample_id
    where pairs.kind in ('paraphrase', 'near_duplicate', 'contradiction') or pairs.distance <= 0.05
    group by pairs.base, pairs.recipe, pairs.training_set, pairs.sample_id, contradicts
),

suspects as (
    select
        arms.*,
        'mislabelled' as reason,
        nats as value,
        nats as suspicion,
        format('owes itself {:+.2f} nats, moves its class elsewhere by {:+.2f}', nats, class_held_out) as why
    from arms
    where nats > 0 and class_held_out < 0
    union all
    select
        arms.*,
        'contradicted' as reason,
        nats as value,
        nats as suspicion,
        'reads nearly as ' || twins.twin || ', which has another label' as why
    from arms
    inner join twins using (base, recipe, training_set, sample_id)
    where nats is not null and twins.contradicts
    union all
    select
        arms.*,
        'memorised' as reason,
        nats as value,
        nats as suspicion,
        format('owes itself {:+.2f} nats', nats) || coalesce(format(', {:+.3f} to what is held out', held_out), '')
            as why
    from arms
    where nats > 0
    union all
    select
        arms.*,
        'duplicated' as reason,
        nats as value,
        -nats as suspicion,
        'is much like ' || twins.twin
        || coalesce(format(' (distance {:.3f})', cast(twins.distance as double)), '') as why
    from arms
    inner join twins using (base, recipe, training_set, sample_id)
    where nats is not null and not twins.contradicts
    union all
    select
        arms.*,
        'harmful' as reason,
        held_out as value,
        -held_out as suspicion,
        format('moves what is held out by {:+.3f} nats a query', held_out) as why
    from arms
    where held_out < 0
),

ranked as (
    select
        *,
        row_number() over (
            partition by base, estimator, recipe, reason order by suspicion desc, sample_id asc
        ) as place
    from suspects
)

select
    bases.label as base,
    ranked.base as base_id,
    ranked.estimator,
    recipes.label as recipe,
    ranked.recipe as recipe_id,
    ranked.reason,
    samples.name as sample,
    ranked.sample_id,
    ranked.value,
    ranked.logprob,
    -- What the held-out queries gain a query, on average, when the sample is dropped.
    -ranked.held_out as dropped,
    case when ranked.estimator = 'leave_one_out' then 'measured' else 'predicted' end as how,
    ranked.why,
    trim(
        case
            when samples.modality <> 'image' then samples.prompt || ' ' || samples.target
            else samples.name || coalesce(', ' || coalesce(samples.label_name, cast(samples.label as varchar)), '')
        end
    ) as text
from ranked
inner join bases on ranked.base = bases.base
inner join recipes on ranked.recipe = recipes.recipe
inner join samples on ranked.sample_id = samples.sample_id
where ranked.place <= $most
order by
    base asc,
    ranked.estimator asc,
    recipe asc,
    array_position(['mislabelled', 'contradicted', 'memorised', 'duplicated', 'harmful'], ranked.reason) asc,
    ranked.place asc
