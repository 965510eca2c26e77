-- grain: one row per training of a set
-- Arms and actions may have made the same one: it is called by the kind that most depends on knowing it.
with

written as (
    select * from trainings_written
),

ordered as (
    select *
    from
        (
            values
            ('full', 1), ('subset', 2), ('watched', 3), ('without', 4), ('removed', 5), ('reweighted', 6),
            ('unlearned', 7)
        ) as kinds (kind, place)
),

final as (
    select
        written.training,
        written.training_set,
        written.kind,
        written.about
    from written
    left join ordered using (kind)
    qualify row_number() over (partition by written.training order by ordered.place, written.about) = 1
)

select * from final
