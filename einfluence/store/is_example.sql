-- Whether a probe of a kind is one training example: one row of the data, a sample or a chat with all its answers.
create or replace macro is_example(kind) as kind in ('sample', 'chat')
