-- grain: one row an estimate (base, estimator, recipe): how well it says what its intervention does, and what both took
with
scores as (
    select *
    from desiderata
    where domain = 'all'
),

recipes as (select * from recipes),

bases as (select * from bases),

states as (select * from states),

trainings as (select * from trainings),

outcomes as (select * from outcomes),

cells_taken as (
    select
        base,
        recipe,
        sum(seconds) as seconds,
        max(memory) as memory,
        max(parameter_share) as parameter_share
    from outcomes
    group by base, recipe
),

-- Of an arm within a training set, what its trainings took; that on the whole set counts for every arm.
trainings_taken as (
    select
        trainings.base,
        own.recipe,
        sum(trainings.seconds) as seconds
    from recipes as own
    inner join trainings on own.trainings = trainings.recipe and own.training_set = trainings.training_set
    where
        trainings.kind = 'full'
        or (own.estimator = 'leave_one_out' and trainings.kind = 'without')
        or (own.estimator = 'subsets' and trainings.kind = 'subset')
    group by trainings.base, own.recipe
),

-- A state counts for every arm that uses it.
fits as (
    select
        states.base,
        own.recipe,
        sum(states.seconds) as seconds,
        max(states.memory) as memory,
        max(states.bytes) as bytes
    from states
    inner join recipes as own on states.fit = own.fit or states.recipe = own.recipe
    group by states.base, own.recipe
),

fidelity as (
    select
        base,
        estimator,
        recipe,
        any_value(value) filter (where variant = 'spearman') as spearman,
        any_value(ci_low) filter (where variant = 'spearman') as spearman_low,
        any_value(ci_high) filter (where variant = 'spearman') as spearman_high,
        any_value(n) filter (where variant = 'spearman') as probes,
        any_value(note) filter (where variant = 'spearman') as note,
        any_value(value) filter (where variant = 'spearman by query') as by_query,
        any_value(ci_low) filter (where variant = 'spearman by query') as by_query_low,
        any_value(ci_high) filter (where variant = 'spearman by query') as by_query_high,
        any_value(value) filter (where variant = 'of the ceiling') as of_the_ceiling,
        any_value(value) filter (where variant = 'top tenth') as top_tenth,
        any_value(value) filter (where variant = 'sign') as sign_agrees,
        any_value(value) filter (where variant = 'slope') as slope,
        list(struct_pack(kind := kind, agreement := value) order by value, kind)
        filter (where formula = 'order' and value is not null) as by_kind,
        list(struct_pack(kind := kind, shift := value) order by kind)
        filter (where formula = 'too high' and value is not null) as too_high
    from scores
    where desideratum = 'fidelity'
    group by base, estimator, recipe
),

ceilings as (
    select
        base,
        recipe,
        value as ceiling
    from scores
    where desideratum = 'reliability'
)

select
    fidelity.*,
    bases.label as base_label,
    own.label,
    own.unit,
    own.stands_for,
    intervention.estimator as intervention,
    intervention.label as intervention_label,
    ceilings.ceiling,
    own_taken.seconds,
    own_taken.parameter_share,
    fits.seconds as fit_seconds,
    fits.bytes as state_bytes,
    greatest(own_taken.memory, fits.memory) as memory,
    coalesce(trained.seconds, 0) + coalesce(intervention_taken.seconds, 0) as intervention_seconds
from fidelity
inner join recipes as own on fidelity.recipe = own.recipe
left join bases on fidelity.base = bases.base
left join recipes as intervention on own.stands_for = intervention.recipe
left join ceilings on fidelity.base = ceilings.base and own.stands_for = ceilings.recipe
left join cells_taken as own_taken on fidelity.base = own_taken.base and fidelity.recipe = own_taken.recipe
left join fits on fidelity.base = fits.base and fidelity.recipe = fits.recipe
left join trainings_taken as trained on fidelity.base = trained.base and own.stands_for = trained.recipe
left join cells_taken as intervention_taken
    on fidelity.base = intervention_taken.base and own.stands_for = intervention_taken.recipe
order by
    base_label asc, intervention asc, intervention_label asc, spearman desc nulls last, fidelity.estimator asc,
    fidelity.recipe asc
