-- One row a (run, probe): do other training seeds give the same row? No desideratum can be surer than this.
select
    run,
    probe,
    'spearman across seeds' as variant,
    'spearman' as formula,
    'neither' as better,
    ceiling as value,
    0.0 as null_value,
    1.0 as ideal,
    'mean' as summary
from mart_ceilings
