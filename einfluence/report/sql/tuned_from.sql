-- grain: the one base that a part's base was trained from, where the store has it; of several the nearest
with
bases as (select * from bases)

select base
from bases
where starts_with($label, label || ', trained on ')
order by length(label) desc, base asc
limit 1
