"""Where an estimate takes gradients: at the base, or at the parameters that the training on a set leaves behind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor

from einfluence.engine.gradients.definition import Point
from einfluence.engine.gradients.trajectory import moments
from einfluence.engine.measurement import Item
from einfluence.engine.schedule import Training
from einfluence.engine.trained import trained_copy
from einfluence.estimators.training import trained, trained_base, whole_training, with_steps
from einfluence.estimators.within import TrainedSet
from einfluence.models.base import Base
from einfluence.objectives import encode_all
from einfluence.predictors import Estimate
from einfluence.recipe import Recipe, Tuning


def recipe_of(arm: Estimate, within: TrainedSet | None) -> Recipe:
    """How the intervention trains, in the dtype of the estimate; within a set with the steps of its schedule."""
    recipe = arm.of.recipe
    if within is not None:
        recipe = with_steps(recipe.only(Tuning), within.schedule, len(within.samples), len(within.later))
    return recipe.only(Recipe).model_copy(update={"dtype": arm.recipe.dtype})


def point_of(base: Base, arm: Estimate, seed: int, within: TrainedSet | None = None) -> Point:
    """The parameters at which gradients are taken: those that the intervention trains, or the arm's own choice of them.

    Args:
        base: The base.
        arm: What is estimated of which intervention.
        seed: Of start values and of the set's order.
        within: The set, for what is left behind by the training on all of it, with its second stage if it has one.

    Raises:
        InputError: When the recipe trains no parameter of this model.
        RuntimeError: When the training on the set fails.
    """
    recipe = recipe_of(arm, within)
    own = None if arm.recipe.adapter is None else recipe.model_copy(update={"adapter": arm.recipe.adapter})
    if within is None:
        return Point.start(base, own or recipe, seed)
    about = base, arm.of.recipe.only(Tuning), seed, within.samples, within.schedule
    if own is not None:
        return Point.start(trained_base(*about, later=within.later), own, seed)
    return Point(base, *trained_copy(base, recipe, trained(*about, later=within.later)))


def asked_at(base: Base, arm: Estimate, seed: int, within: TrainedSet | None) -> Point | None:
    """Where queries' gradients are taken, if not where those of the probes are: behind a second stage."""
    return point_of(base, arm, seed, within) if within is not None and within.later else None


def set_training(base: Base, within: TrainedSet, seed: int) -> Training[Item]:
    """The training on the whole set."""
    own, later = (list(encode_all(base, some)) for some in (within.samples, within.later))
    return whole_training(own, within.schedule, seed, later)


def trained_moment(base: Base, recipe: Recipe, within: TrainedSet, seed: int) -> tuple[Point, dict[str, Tensor]]:
    """The parameters that the training on the set leaves behind, and what Adam multiplied the last gradient by.

    Raises:
        RuntimeError: When the training fails.
    """
    point, scales = Point.start(base, recipe, seed), dict[str, Tensor]()
    try:
        for moment in moments(point, recipe, set_training(base, within, seed)):
            scales = moment.scales or {}
    except ArithmeticError as error:
        raise RuntimeError(f"the training on the set failed: {error}") from error
    return point, scales


def summed(values: npt.NDArray[np.float64], places: Sequence[Sequence[int]]) -> npt.NDArray[np.float64]:
    """Rows of some items, added up for each probe."""
    return np.stack([values[list(each)].sum(0) for each in places]) if len(places) else values[:0]
