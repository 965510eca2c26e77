-- One row an arm.
create or replace temp table mart_arms as
select distinct
    arm,
    estimator,
    base,
    recipe
from stg_runs
