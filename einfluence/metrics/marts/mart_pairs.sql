-- One row a (run, probe, class of pairs), over unordered pairs of single samples measured both ways whose lower probe
-- is from $low up to $high (exclusive).
with samples as (
    select
        as_probe as probe,
        query as own_query
    from stg_queries
    where as_probe is not null
),

forth as (
    select
        cells.run,
        cells.probe,
        samples.probe as other,
        cells.n_tokens,
        cells.influence
    from stg_cells as cells  -- all cells: a CTE of them that is read twice would be written out
    inner join samples on cells.query = samples.own_query
    where cells.probe >= $low and cells.probe < $high and cells.probe < samples.probe
),

back as (
    select
        cells.run,
        cells.probe as other,
        samples.probe,
        cells.n_tokens,
        cells.influence
    from stg_cells as cells  -- all cells: a CTE of them that is read twice would be written out
    inner join samples on cells.query = samples.own_query
    where samples.probe >= $low and samples.probe < $high and cells.probe > samples.probe
),

pairs as (
    select
        forth.run,
        forth.probe as low,
        forth.other as high,
        forth.n_tokens = back.n_tokens as same_length,
        forth.influence - back.influence as difference,
        forth.influence * forth.influence + back.influence * back.influence as squares
    from forth
    inner join back using (run, probe, other)
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

-- Either probe's sums over all pairs and over those of equal length, in one pass.
sides as (
    select
        run,
        low as probe,
        count(*) as n_pairs,
        sum(difference * difference) as above,
        sum(squares) as below,
        count(*) filter (where same_length) as n_same,
        sum(difference * difference) filter (where same_length) as above_same,
        sum(squares) filter (where same_length) as below_same
    from pairs
    group by run, low
    union all
    select
        run,
        high as probe,
        count(*) as n_pairs,
        sum(difference * difference) as above,
        sum(squares) as below,
        count(*) filter (where same_length) as n_same,
        sum(difference * difference) filter (where same_length) as above_same,
        sum(squares) filter (where same_length) as below_same
    from pairs
    group by run, high
),

classed_sides as (
    select
        run,
        low as probe,
        class,
        difference,
        squares
    from classed
    union all
    select
        run,
        high as probe,
        class,
        difference,
        squares
    from classed
)

-- Each pair counts half for either probe: over all probes the numerators sum to Σ(I_ij − I_ji)², the denominators
-- to 2Σ(I_ij² + I_ji²).
select
    run,
    probe,
    'all' as class,
    sum(n_pairs) as n_pairs,
    sum(above) / 2 as numerator,
    sum(below) as denominator
from sides
group by run, probe

union all

select
    run,
    probe,
    'same length' as class,
    sum(n_same) as n_pairs,
    sum(above_same) / 2 as numerator,
    sum(below_same) as denominator
from sides
where n_same > 0
group by run, probe

union all

select
    run,
    probe,
    class,
    count(*) as n_pairs,
    sum(difference * difference) / 2 as numerator,
    sum(squares) as denominator
from classed_sides
group by run, probe, class
