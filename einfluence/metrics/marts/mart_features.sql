-- One row a (run, probe of one sample, feature that was asked for): what the feature says of the sample.
create or replace temp table mart_features as
with asked as (
    select * from asked_features
),

given as (
    select * from given_features
),

probes as (
    select
        probe,
        sample_id
    from stg_probes
    where kind = 'sample' and n_members = 1
),

measured as (
    select
        run,
        probe
    from mart_samples
),

samples as (
    select
        sample_id,
        any_value(prompt) as prompt,
        any_value(target) as target,
        any_value(inputs) as inputs,
        -- the target of a class or of tags is no text that the model reads
        bool_or(label is not null or coalesce(objective, '') = 'token_class') as classed,
        coalesce(any_value(objective), '') || ' ' || coalesce(cast(any_value(label) as varchar), any_value(target))
            as class
    from samples
    group by sample_id
),

texts as (
    select
        sample_id,
        class,
        lower(coalesce(inputs ->> '$.text_b', case when not classed then target end)) as second,
        lower(case when inputs ->> '$.text_b' is not null then inputs ->> '$.text' else prompt end) as first
    from samples
),

-- Letters and numbers, apostrophes within: "didn't" is a word.
words as (
    select
        sample_id,
        class,
        nullif(concat_ws(' ', first, second), '') as whole,
        regexp_extract_all(first, '[\p{L}\p{N}]+([''’][\p{L}]+)*') as first_words,
        regexp_extract_all(second, '[\p{L}\p{N}]+([''’][\p{L}]+)*') as second_words
    from texts
),

shipped as (
    select
        measured.run,
        measured.probe,
        unnest(['lexical_overlap', 'negation', 'length', 'class_share']) as feature,
        unnest([
            len(list_intersect(words.second_words, words.first_words))
            / nullif(len(list_distinct(words.second_words)), 0) * case when len(words.first_words) > 0 then 1.0 end,
            cast(
                regexp_matches(
                    words.whole,
                    '\b(no|not|never|none|nobody|nothing|nowhere|neither|nor|cannot|without)\b|n[''’]t\b'
                ) as double
            ),
            nullif(coalesce(len(words.first_words), 0) + coalesce(len(words.second_words), 0), 0),
            count(*) over (partition by measured.run, words.class)
            / cast(count(*) over (partition by measured.run) as double)
        ]) as value
    from measured
    inner join probes using (probe)
    inner join words using (sample_id)
),

users as (
    select
        measured.run,
        measured.probe,
        given.feature,
        given.value
    from measured
    inner join probes using (probe)
    inner join given using (sample_id)
)

select shipped.*
from shipped
semi join asked using (feature)
where isfinite(shipped.value)

union all

select *
from users
where isfinite(value)
