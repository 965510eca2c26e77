-- grain: one row per sample that training with learned weights weighs least, on average over seeds and settings
with

actions as (
    select distinct
        base,
        training_set,
        training
    from actions
    where kind = 'ignore' and method = 'learned' and base = $base
),

members as (
    select * from training_set_members
),

weights as (
    select * from training_weights
),

samples as (
    select * from samples
),

weighed as (
    select
        members.sample_id,
        avg(coalesce(weights.weight, 1)) as weight
    from actions
    inner join members using (training_set)
    left join weights on actions.training = weights.training and members.position = weights.position
    group by members.sample_id
),

final as (
    select
        samples.name,
        weighed.weight,
        samples.noise = 'label_flip' as is_flipped,
        trim(
            case
                when samples.modality <> 'image' then samples.prompt || ' ' || samples.target
                else coalesce(samples.label_name, cast(samples.label as varchar), '')
            end
        ) as text
    from weighed
    inner join samples using (sample_id)
)

select * from final
order by weight, name
limit $most
