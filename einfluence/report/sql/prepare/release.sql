-- lets go of what the other files of this folder made
drop table if exists report_arms;
drop table if exists report_probes;
drop table if exists report_queries;
drop table if exists report_cells;
drop table if exists report_pairs;
