"""The influence step: a trained model's parameters, moved to where they would be without some samples.

theta + (s / |R|) (C + lambda)^-1 sum over F of g, with C the curvature of the rest's mean loss, g the gradient of a
sample's mean loss, and F what is forgotten. With s = 1, from the optimum of the whole set, it is the first step of
Newton's method to that of the rest R (Koh & Liang 2017; Guo et al. 2020, "Certified data removal from machine learning
models").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from einfluence.arms import LeaveOneOut
from einfluence.engine.gradients.collector import Collector
from einfluence.engine.gradients.curvature import unstacked
from einfluence.engine.measurement import Item
from einfluence.estimators.curvature_set import naming
from einfluence.estimators.exact import WORST, solve
from einfluence.estimators.inverted import damped_curvature, rows_of
from einfluence.estimators.point import point_of
from einfluence.estimators.pushes import Push, Pushes
from einfluence.estimators.within import TrainedSet
from einfluence.models.base import Base
from einfluence.objectives import encode_all
from einfluence.predictors import Exact, Inverting
from einfluence.recipe import Tuning
from einfluence.unlearning import InfluenceStep


class Stepped(NamedTuple):
    """What was computed.

    Args:
        parameters: Those that are trained, as :func:`einfluence.estimators.training.trained` names them.
        products: With the curvature that it took.
        residual: Of the worst inverse, as a share of the gradient's norm.
    """

    parameters: dict[str, Tensor]
    products: int
    residual: float


def influence_step(
    base: Base, recipe: Tuning, seed: int, within: TrainedSet, parts: Sequence[Sequence[int]], method: InfluenceStep
) -> Stepped:
    """Steps away from what the training on a set leaves behind, once for each part of the forget set.

    Args:
        base: The base; it is left bit-identical.
        recipe: How the set is trained on.
        seed: Of the training.
        within: The set.
        parts: Positions of the samples to forget, one part after the other; the rest is what is in none of them.
        method: How.

    Raises:
        RuntimeError: When the training fails.
        ArithmeticError: When the curvature has no inverse that conjugate gradients reach, or the step is not finite.
    """
    arm = arm_of(recipe, method)
    collector = Collector(point_of(base, arm, seed, within))
    items = list(encode_all(base, within.samples))
    gone = {place for part in parts for place in part}
    kept = [place for place in range(len(items)) if place not in gone]
    rest, named = [items[place] for place in kept], [within.samples[place] for place in kept]
    products, residual = 0, 0.0
    for part in parts:
        with naming(named):
            curvature = damped_curvature(collector, rest, arm)
        gradient = gradient_of(collector, [items[place] for place in part])
        found = solve(
            curvature, gradient
        )  # EK-FAC's factors as a preconditioner take two to six times as many products
        products, residual = products + found.products, max(residual, found.residual)
        if not found.residual <= WORST:
            raise ArithmeticError(
                f"no inverse: residual {found.residual:.1e} after {found.products} products, at most {WORST:g}; take "
                "more `damping`, `curvature: gauss_newton`, or `dtype: float64` in the recipe"
            )
        _move(collector, torch.from_numpy(found.x * (-method.scale / len(rest))))
    parameters = {name: value.detach().clone() for name, value in collector.point.trained.items()}
    return Stepped(parameters, products, residual)


def arm_of(recipe: Tuning, method: InfluenceStep) -> Exact:
    """The estimate with whose curvature and damping it steps."""
    dtype = "float64" if recipe.dtype == "float64" else "float32"
    inverting = Inverting(damping=method.damping, curvature=method.curvature, dtype=dtype)
    return Exact(recipe=inverting, stands_for=LeaveOneOut(recipe=recipe))


def gradient_of(collector: Collector, items: Sequence[Item]) -> Float[npt.NDArray[np.float64], " p"]:
    """The gradient of the sum over some samples of their mean log-probabilities."""
    up = Push(1.0, tuple((item, 1 / item.n_target) for item in items))
    [gradient] = rows_of(collector, Pushes(((up,),))).double().cpu().numpy()
    return gradient


def _move(collector: Collector, change: Tensor) -> None:
    with torch.no_grad():
        for name, part in unstacked(change[None], collector.point).items():
            value = collector.point.trained[name]
            value += part[0].to(value)
            if not value.isfinite().all():
                raise ArithmeticError(f"the step makes {name} not finite")
