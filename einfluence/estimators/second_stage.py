"""What a second stage of a training leaves of what the first did: the two-stage form of estimates by curvature.

If the second stage minimises its own mean loss near where the first one ended, mean loss + |theta - theta_1|² / (2 l),
then d theta_2 / d theta_1 = (1 + l C_2)^-1 with C_2 its curvature (Chen et al. 2020, "Multi-Stage Influence Function",
whose alpha is 1 / l here). Gradient descent from theta_1 that is stopped after steps of the sum l leaves about the
same, the product of (1 - eta C_2) over its steps. For Adam l is divided by the mean of what its last step divided by.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from einfluence.engine.gradients.trajectory import carry
from einfluence.estimators.point import recipe_of, set_training, trained_moment
from einfluence.estimators.within import TrainedSet
from einfluence.models.base import Base
from einfluence.predictors import Estimate
from einfluence.recipe import Sgd


def lengths(base: Base, arm: Estimate, seed: int, within: TrainedSet, names: Iterable[str]) -> Mapping[str, float]:
    """How far the second stage goes along a gradient that stays what it is, by the name of a parameter.

    Args:
        base: The base.
        arm: What is estimated of which intervention.
        seed: Of start values and orders.
        within: A set with a second stage.
        names: Of the parameters that gradients are taken of.

    Raises:
        RuntimeError: When the training fails.
    """
    recipe = recipe_of(arm, within)
    rates = [step.rate for step in set_training(base, within, seed).stages[-1]]
    length = recipe.optimizer.lr * sum(carry(recipe, rates))
    if isinstance(recipe.optimizer, Sgd):
        return dict.fromkeys(names, length)
    _, scales = trained_moment(base, recipe, within, seed)
    return {name: length / _divisor(scale, recipe.optimizer.eps) for name, scale in scales.items()}


def _divisor(scale: Tensor, eps: float) -> float:
    """The mean of what Adam divides by; a scale of 0 is that of a gradient that always was 0."""
    return float(torch.where(scale > 0, 1.0 / scale, eps).double().mean())
