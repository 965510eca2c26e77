-- grain: one row per probe that is one sample by itself
create or replace view single_probes as
select
    probe_members.probe_id,
    min(probe_members.sample_id) as sample_id
from probe_members
inner join probes using (probe_id)
where probes.kind = 'sample'
group by probe_members.probe_id
having count(*) = 1
