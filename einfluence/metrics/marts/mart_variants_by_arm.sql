-- One row a (arm, desideratum, variant): what its model says of it beside its name.
with variants as (
    select * from mart_variants
),

runs as (
    select
        run,
        arm
    from stg_runs
)

select
    runs.arm,
    variants.desideratum,
    variants.variant,
    any_value(variants.formula) as formula,
    any_value(variants.kind) as kind,
    any_value(variants.level) as level,
    any_value(variants.place) as place,
    any_value(variants.layer) as layer,
    any_value(variants.about) as about,
    any_value(variants.partner) as partner,
    any_value(variants.better) as better,
    any_value(variants.start) as start,
    any_value(variants.bar) as bar,
    any_value(variants.rule) as rule,
    any_value(variants.p_value) as p_value
from variants
inner join runs using (run)
group by runs.arm, variants.desideratum, variants.variant
