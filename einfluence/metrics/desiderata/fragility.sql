-- One row a (run of an estimate, probe or query, variant): how far its fidelity hangs on one setting of the training,
-- along a grid of arms that are equal but for it. Each arm is held against those at the setting's least value, of the
-- same seed; `change` is that of the fidelity by probe, `ceiling` that of what another seed of the training predicts.
-- `variance` is that of an arm's fidelity over queries; rows that were permuted have 1 / (probes - 1).
with runs as (
    select * from stg_runs
),

recipes as (
    select * from recipes
),

bases as (
    select * from bases
),

fidelity as (
    select * from mart_fidelity
),

by_query as (
    select * from mart_fidelity_by_query
),

sets as (
    select
        sets.training_set,
        any_value(sets.json) as json,
        string_agg(members.sample_id, ' ' order by members.position) as samples
    from training_sets as sets
    inner join training_set_members as members using (training_set)
    group by sets.training_set
),

models as (
    select
        base,
        json ->> 'objective' as objective,
        cast(
            coalesce(json ->> '$.config.num_hidden_layers', json ->> '$.config.n_layer', json ->> '$.config.num_layers')
            as double
        ) as depth,
        cast(
            coalesce(json ->> '$.config.hidden_size', json ->> '$.config.n_embd', json ->> '$.config.d_model') as double
        ) as width
    from bases
),

arms as (
    select
        runs.run,
        runs.seed,
        runs.base,
        models.objective,
        models.depth,
        models.width,
        intervention.json as how,
        sets.samples,
        coalesce(intervention.training_set, '') as training_set,
        coalesce(sets.json, '{}') as schedule,
        runs.estimator || cast(json_merge_patch(own.json, '{"stands_for": null}') as varchar)
        || intervention.estimator as fixed
    from runs
    inner join recipes as own on runs.recipe = own.recipe
    inner join recipes as intervention on own.stands_for = intervention.recipe
    inner join models on runs.base = models.base
    left join sets on intervention.training_set = sets.training_set
),

-- Of each setting its value, and all that arms of one grid have in common.
settings as (
    select
        run,
        seed,
        'lr' as kind,
        cast(how ->> 'lr' as double) as level,
        concat_ws('|', fixed, base, training_set, json_merge_patch(how, '{"lr": null}')) as grid
    from arms
    union all
    select
        run,
        seed,
        'steps' as kind,
        cast(how ->> 'steps' as double) as level,
        concat_ws('|', fixed, base, training_set, json_merge_patch(how, '{"steps": null}')) as grid
    from arms
    union all
    select
        run,
        seed,
        'weight decay' as kind,
        cast(how ->> 'weight_decay' as double) as level,
        concat_ws('|', fixed, base, training_set, json_merge_patch(how, '{"weight_decay": null}')) as grid
    from arms
    union all
    select
        run,
        seed,
        'rank' as kind,
        cast(how ->> '$.adapter.r' as double) as level,
        concat_ws('|', fixed, base, training_set, json_merge_patch(how, '{"adapter": {"r": null}}')) as grid
    from arms
    union all
    select
        run,
        seed,
        'epochs' as kind,
        cast(schedule ->> 'epochs' as double) as level,
        concat_ws('|', fixed, base, samples, json_merge_patch(schedule, '{"epochs": null}'), how) as grid
    from arms
    union all
    select
        run,
        seed,
        'depth' as kind,
        depth as level,
        concat_ws('|', fixed, objective, width, training_set, how) as grid
    from arms
    union all
    select
        run,
        seed,
        'width' as kind,
        width as level,
        concat_ws('|', fixed, objective, depth, training_set, how) as grid
    from arms
),

placed as (
    select
        *,
        min(level) over (partition by kind, grid, seed) as least
    from settings
    where level is not null
    qualify least < max(level) over (partition by kind, grid, seed)
),

ceilings as (
    select
        run as measured_run,
        probe,
        ceiling
    from mart_ceilings
),

probes as (
    select
        fidelity.run,
        fidelity.probe,
        avg(fidelity.spearman) as spearman,
        avg(ceilings.ceiling) as ceiling
    from fidelity
    left join ceilings using (measured_run, probe)
    group by fidelity.run, fidelity.probe
),

least as (
    select
        placed.kind,
        placed.grid,
        placed.seed,
        probes.probe,
        avg(probes.spearman) as spearman,
        avg(probes.ceiling) as ceiling
    from placed
    inner join probes using (run)
    where placed.level = placed.least
    group by placed.kind, placed.grid, placed.seed, probes.probe
),

changed as (
    select
        placed.run,
        probes.probe,
        placed.kind,
        placed.level,
        format('{} {:g}', placed.kind, placed.level) as setting,
        probes.spearman - least.spearman as change,
        probes.ceiling - least.ceiling as ceiling
    from placed
    inner join probes using (run)
    inner join least
        on
            placed.kind = least.kind
            and placed.grid = least.grid
            and placed.seed = least.seed
            and probes.probe = least.probe
    where placed.level > placed.least
),

deviations as (
    select
        run,
        query,
        1.0 / (n - 1) as null_value,
        power(spearman - avg(spearman) over (partition by run, measured_run), 2) as deviation
    from by_query
    where spearman is not null
),

queries as (
    select
        run,
        query,
        avg(deviation) as variance,
        avg(null_value) as null_value
    from deviations
    semi join placed using (run)
    group by run, query
)

select
    run,
    probe,
    cast(null as integer) as query,
    setting || ': change' as variant,
    'change' as formula,
    kind,
    level,
    'neither' as better,
    change as value,
    0.0 as null_value,
    0.0 as ideal,
    'mean' as summary
from changed

union all

select
    run,
    probe,
    cast(null as integer) as query,
    setting || ': ceiling' as variant,
    'ceiling' as formula,
    kind,
    level,
    'neither' as better,
    ceiling as value,
    0.0 as null_value,
    0.0 as ideal,
    'mean' as summary
from changed
where ceiling is not null

union all

select
    run,
    cast(null as integer) as probe,
    query,
    'variance over queries' as variant,
    'variance' as formula,
    cast(null as varchar) as kind,
    cast(null as double) as level,
    'neither' as better,
    variance as value,
    null_value,
    0.0 as ideal,
    'mean' as summary
from queries
