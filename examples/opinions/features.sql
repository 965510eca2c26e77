-- One row a sample: a feature of its own text, beside those that ship.
select
    sample_id,
    prompt like 'i %' as in_the_first_person
from samples
where objective = 'sequence_class'
