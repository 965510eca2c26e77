-- grain: one row per arm within a training set, or estimate of one (base, estimator, recipe, seed), query, and its word
-- A word is a token of letters and digits alone: pieces of words would be found within others.
create or replace view salient_words as
with

cells as (
    select * from influence
),

samples as (
    select * from samples
),

arms as (
    select * from arms_of_sets
),

explained as (
    select
        base,
        recipe as trainings,
        seed,
        training_set,
        query_id,
        lower(trim(token)) as word,
        sum(nats) as nats
    from saliency
    where regexp_full_match(trim(token), '[\p{L}\p{N}]+')
    group by all
),

alone as (
    select * from single_probes
),

-- Of inputs the texts alone, and not the names that they have.
texts as (
    select
        sample_id,
        concat_ws(' ', prompt, target, array_to_string(json_extract_string(inputs, '$.*'), ' ')) as text
    from samples
    semi join alone using (sample_id)
),

words as (
    select distinct
        sample_id,
        unnest(regexp_extract_all(lower(text), '[\p{L}\p{N}]+')) as word
    from texts
),

held as (
    select
        explained.base,
        arms.estimator,
        arms.recipe,
        explained.seed,
        explained.training_set,
        explained.query_id,
        explained.word,
        explained.nats,
        cells.influence,
        words.word is not null as has_it
    from explained
    inner join arms using (training_set, trainings)
    inner join cells using (base, estimator, recipe, seed, query_id)
    inner join alone on cells.probe_id = alone.probe_id and cells.query_id <> alone.sample_id
    semi join training_set_members as members
        on explained.training_set = members.training_set and alone.sample_id = members.sample_id
    left join words on alone.sample_id = words.sample_id and explained.word = words.word
),

placed as (
    select
        *,
        rank() over by_influence
        + (count(*) over (by_influence range between current row and current row) - 1) / 2.0 as place
    from held
    window
        by_influence as (
            partition by base, estimator, recipe, seed, training_set, query_id, word
            order by influence
        )
),

final as (
    select
        base,
        estimator,
        recipe,
        seed,
        training_set,
        query_id,
        word,
        any_value(nats) as nats,
        count(*) filter (where has_it) as samples,
        avg(influence) filter (where has_it) as influence_with,
        avg(influence) filter (where not has_it) as influence_without,
        (avg(place) filter (where has_it) - (count(*) filter (where has_it) + 1) / 2.0)
        / nullif(count(*) filter (where not has_it), 0) as above
    from placed
    group by all
)

select * from final
