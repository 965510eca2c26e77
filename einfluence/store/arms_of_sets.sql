-- grain: one row per arm within a training set, or estimate of one: the set and the trainings that it is about
-- An estimate is about the set of the intervention that it stands for.
create or replace view arms_of_sets as
select
    recipes.estimator,
    recipes.recipe,
    coalesce(recipes.training_set, truths.training_set) as training_set,
    coalesce(recipes.trainings, truths.trainings) as trainings,
    recipes.stands_for
from recipes
left join recipes as truths on recipes.stands_for = truths.recipe
where coalesce(recipes.training_set, truths.training_set) is not null
