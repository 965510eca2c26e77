-- grain: one row per curation and pair that it relates: whether something is claimed of it, and the place of its draw
-- What a bundle or sequence claims is looked at from its members, too, so it counts as claimed by each of them alone.
create or replace view placed_relations as
with

relations as (
    select
        curation,
        probe_id,
        query_id,
        coalesce(kind, 'unrelated') not in ('neighbour', 'unrelated') as claimed,
        md5_number_lower(query_id) % 20 as query_group
    from curated_relations
),

members as (
    select
        probe_id,
        sample_id,
        count(*) over (partition by probe_id) as n_members
    from probe_members
),

of_members as (
    select distinct
        relations.curation,
        singles.probe_id,
        relations.query_id
    from relations
    inner join members as parts on relations.probe_id = parts.probe_id and parts.n_members > 1
    inner join members as singles on parts.sample_id = singles.sample_id and singles.n_members = 1
    where relations.claimed
),

places as (
    select
        probe_id,
        query_group,
        place
    from sample_places
),

final as (
    select
        relations.curation,
        relations.probe_id,
        relations.query_id,
        relations.query_group,
        relations.claimed or of_members.probe_id is not null as claimed,
        coalesce(places.place, 1) as place
    from relations
    left join places on relations.probe_id = places.probe_id and relations.query_group = places.query_group
    left join of_members
        on
            relations.curation = of_members.curation
            and relations.probe_id = of_members.probe_id
            and relations.query_id = of_members.query_id
)

select * from final
