-- grain: one row per training set and sample that a stage of its training trains on
create or replace view trained_on as
with

members as (
    select
        training_set,
        sample_id,
        1 as stage
    from training_set_members
),

second_stages as (
    select
        training_set,
        unnest(json_extract_string(json, '$.then.samples[*]')) as sample_id,
        2 as stage
    from training_sets
),

every_stage as (
    select * from members
    union all
    select * from second_stages
),

final as (
    select
        training_set,
        sample_id,
        min(stage) as stage
    from every_stage
    group by training_set, sample_id
)

select * from final
