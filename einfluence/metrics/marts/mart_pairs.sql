-- One row a (run, probe, class of pairs) over part $part of $parts of all unordered pairs measured both ways.
with cells as (
    select
        cells.run,
        cells.n_tokens,
        cells.influence,
        cells.probe < queries.as_probe as forward,
        least(cells.probe, queries.as_probe) as low,
        greatest(cells.probe, queries.as_probe) as high
    from stg_cells as cells
    inner join stg_queries as queries on cells.query = queries.query
    inner join stg_probes as probes on cells.probe = probes.probe
    where
        probes.kind = 'sample'
        and probes.n_members = 1
        and cells.probe <> queries.as_probe
        and least(cells.probe, queries.as_probe) % $parts = $part
),

pairs as (
    select
        run,
        low,
        high,
        min(n_tokens) = max(n_tokens) as same_length,
        sum(case when forward then influence else -influence end) as difference,
        sum(influence * influence) as squares
    from cells
    group by run, low, high
    having count(*) = 2
),

claims as (
    select distinct
        claims.run,
        least(claims.probe, queries.as_probe) as low,
        greatest(claims.probe, queries.as_probe) as high,
        case when claims.kind = 'paraphrase' then 'paraphrase' else 'implication' end as class
    from mart_claims as claims
    inner join stg_queries as queries using (query)
    where claims.kind in ('paraphrase', 'entailed') and queries.as_probe is not null
),

classed as (
    select
        pairs.*,
        claims.class
    from pairs
    inner join claims using (run, low, high)
),

sums as (
    select
        run,
        low,
        high,
        'all' as class,
        difference,
        squares
    from pairs
    union all
    select
        run,
        low,
        high,
        'same length' as class,
        difference,
        squares
    from pairs
    where same_length
    union all
    select
        run,
        low,
        high,
        class,
        difference,
        squares
    from classed
),

sides as (
    select
        run,
        class,
        low as probe,
        difference,
        squares
    from sums
    union all
    select
        run,
        class,
        high as probe,
        difference,
        squares
    from sums
)

-- Each pair counts half for either probe: over all probes the numerators sum to Σ(I_ij − I_ji)², the denominators
-- to 2Σ(I_ij² + I_ji²).
select
    run,
    probe,
    class,
    count(*) as n_pairs,
    sum(difference * difference) / 2 as numerator,
    sum(squares) as denominator
from sides
group by run, probe, class
