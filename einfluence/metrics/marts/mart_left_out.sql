-- One row a (training of the ensemble $ensemble, unit) that it leaves out, or a part of it.
with drawn as (
    select * from mart_drawn
    where ensemble = $ensemble
),

units as (
    select * from mart_units
    where ensemble = $ensemble
),

weights as (
    select * from training_weights
    where weight = 0
)

select distinct
    drawn.number,
    units.probe
from drawn
inner join weights using (training)
inner join units using (position)
