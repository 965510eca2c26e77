-- One row an arm: its dose, the median of its probes' influence on themselves in nats.
with scores as (
    select * from mart_scores
    where desideratum = 'gate' and variant = 'nats' and value is not null
)

select
    arm,
    median(value) as nats
from scores
group by arm
