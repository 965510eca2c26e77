-- One row a (run that measures some of its cells, control probe): as mart_controls.
with sampled as (
    select * from mart_sampled
),

probes as (
    select
        probe,
        control
    from stg_probes
    where kind = 'control'
)

select
    sampled.run,
    sampled.probe,
    probes.control,
    sampled.control_size as size
from sampled
inner join probes using (probe)
where sampled.control_size is not null
