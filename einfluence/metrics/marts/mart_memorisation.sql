-- One row a (run, probe of one sample of its training set): the view `memorisation`, in small numbers.
create or replace temp table mart_memorisation as
with memorisation as (
    select * from memorisation
),

runs as (
    select * from stg_runs
),

probes as (
    select * from stg_probes
)

select
    runs.run,
    probes.probe,
    memorisation.training_set,
    memorisation.nats,
    memorisation.decision,
    memorisation.null_nats,
    memorisation.null_decision,
    memorisation.class_held_out,
    memorisation.logprob,
    memorisation.rank,
    memorisation.mislabelled
from memorisation
inner join runs using (estimator, base, recipe, seed)
inner join probes using (probe_id)
