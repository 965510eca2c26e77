-- grain: one row per place (forget, rest, held out) of one unlearning: the medians of the gap to the retraining before
-- and after it, how much of it is closed, and the share of queries that each of the three models has in the first rank.
with

found as (
    select distinct
        place,
        query_id,
        logprob,
        logprob_full,
        logprob_retrained,
        rank,
        rank_full,
        rank_retrained
    from unlearning
    where
        base = $base
        and recipe = $recipe
        and seed = $seed
        and training = $training
        and reference = $reference
        and place <> 'second stage'
),

final as (
    select
        place,
        count(*) as n,
        median(abs(logprob_full - logprob_retrained)) as gap_full,
        median(abs(logprob - logprob_retrained)) as gap,
        1 - median(abs(logprob - logprob_retrained)) / nullif(median(abs(logprob_full - logprob_retrained)), 0)
            as closed,
        avg(cast(rank_full = 1 as integer)) as first_full,
        avg(cast(rank = 1 as integer)) as first,
        avg(cast(rank_retrained = 1 as integer)) as first_retrained
    from found
    group by place
)

select * from final
order by case place when 'forget' then 1 when 'rest' then 2 else 3 end
