-- One row a (run, query, variant): do sums of influence order trainings on subsets as they fell
-- out? Rank correlations within folds, averaged over these; the ceiling is that of the same trainings at another seed.
with predictions as (
    select * from mart_predictions
),

ensembles as (
    select * from mart_ensembles
),

drawn as (
    select * from mart_drawn
),

queries as (
    select * from stg_queries
),

scores as (
    select * from training_scores
    where isfinite(logprob)
),

at_other_seeds as (
    select
        ensembles.ensemble,
        queries.query,
        other.seed as fold,
        other.logprob as predicted,
        own.logprob
    from ensembles
    inner join drawn using (ensemble)
    inner join scores as own
        on
            ensembles.base = own.base
            and ensembles.trainings = own.recipe
            and ensembles.seed = own.seed
            and drawn.training = own.training
    inner join scores as other
        on
            own.base = other.base
            and own.recipe = other.recipe
            and own.training = other.training
            and own.query_id = other.query_id
            and own.engine_version = other.engine_version
            and own.seed <> other.seed
    inner join queries on own.query_id = queries.query_id
),

compared as (
    select
        'spearman' as formula,
        ensemble,
        query,
        fold,
        predicted,
        logprob
    from predictions
    union all
    select
        'ceiling' as formula,
        ensemble,
        query,
        fold,
        predicted,
        logprob
    from at_other_seeds
),

ranked as (
    select
        formula,
        ensemble,
        query,
        fold,
        rank() over one + (count(*) over (one range between current row and current row) - 1) / 2.0 as predicted_rank,
        rank() over two + (count(*) over (two range between current row and current row) - 1) / 2.0 as logprob_rank
    from compared
    window
        one as (partition by formula, ensemble, query, fold order by predicted),
        two as (partition by formula, ensemble, query, fold order by logprob)
),

folds as (
    select
        formula,
        ensemble,
        query,
        case
            when count(*) >= 4 and stddev_pop(predicted_rank) > 0 and stddev_pop(logprob_rank) > 0
                then corr(predicted_rank, logprob_rank)
        end as correlation
    from ranked
    group by formula, ensemble, query, fold
),

correlations as (
    select
        formula,
        ensemble,
        query,
        avg(correlation) as correlation
    from folds
    group by formula, ensemble, query
),

described as (
    select
        correlations.*,
        ensembles.run,
        ensembles.trainings,
        case when members.sample_id is not null then 'in the set' end as kind,
        case
            when ensembles.n_ensembles > 1
                then
                    ' (trainings ' || ensembles.trainings[:6] || '/'
                    || ensembles.training_set[:6] || ')'
            else ''
        end as which
    from correlations
    inner join ensembles using (ensemble)
    inner join queries using (query)
    left join training_set_members as members
        on ensembles.training_set = members.training_set and queries.query_id = members.sample_id
)

select
    run,
    query,
    formula || case when kind is not null then ', ' || kind else '' end || which as variant,
    formula,
    kind,
    trainings as partner,
    case when formula = 'ceiling' then 'neither' end as better,
    correlation as value,
    0.0 as null_value,
    1.0 as ideal,
    'mean' as summary
from described
