-- grain: one row per training of a set
-- Arms and actions may have made the same one: it is called by the kind that most depends on knowing it.
create or replace view trainings_defined as
with

written as (
    select * from trainings_written
),

ordered as (
    select
        *,
        list_position(
            ['full', 'subset', 'watched', 'without', 'removed', 'reweighted', 'unlearned'], kind
        ) as place
    from written
),

final as (
    select
        training,
        training_set,
        kind,
        about
    from ordered
    qualify row_number() over (partition by training order by place, about) = 1
)

select * from final
