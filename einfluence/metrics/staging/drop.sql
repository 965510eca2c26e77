-- No row: takes away what scoring made in the connection.
drop table if exists temp.stg_runs;
drop table if exists temp.stg_probes;
drop table if exists temp.stg_queries;
drop table if exists temp.stg_kinds;
drop table if exists temp.stg_levels;
drop table if exists temp.stg_samples;
drop table if exists temp.stg_cells;
drop table if exists temp.stg_relations;
drop table if exists temp.stg_restorations;
drop table if exists temp.stg_estimates;
drop table if exists temp.mart_cells;
drop table if exists temp.mart_ranks;
drop table if exists temp.mart_estimates;
drop table if exists temp.mart_samples;
drop table if exists temp.mart_selves;
drop table if exists temp.mart_arms;
