-- grain: one row per training that was done because the most harmful samples were to be removed, of one way and seed
with

made as (
    select * from actions
),

trained as (
    select * from trainings
),

final as (
    select distinct made.training
    from made
    inner join trained using (base, recipe, seed, training)
    where
        made.kind = 'remove'
        and made.method = 'lowest'
        and made.query_id is null
        and made.base = $base
        and made.recipe = $recipe
        and made.seed = $seed
        and trained.status = 'done'
)

select * from final
