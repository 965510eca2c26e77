"""Data values: the unrolled derivative with the empirical Fisher of each batch in the place of its second derivatives.

Backwards along the training, an adjoint a of the parameters becomes a - η (H_t + decay) a with H_t = (1/B) Σ g_i g_iᵀ,
g_i the gradients of the batch's losses; so it takes first derivatives alone, and no p x p matrix (data value
embeddings: Wang et al. 2024, "Capturing the temporal dependence of training data influence"). What Adam divides by,
and what clipping multiplies with, are taken as they were and not as functions of the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from einfluence.engine.measurement import Item
from einfluence.engine.unrolling import Trajectory, flat
from einfluence.estimators.along import Followed, along
from einfluence.estimators.estimate import Estimates
from einfluence.estimators.within import TrainedSet
from einfluence.models.base import Base
from einfluence.predictors import DataValue
from einfluence.recipe import AdamW, Sgd
from einfluence.samples import ProbeSamples, Sample


def block(
    base: Base,
    arm: DataValue,
    seed: int,
    probes: Sequence[ProbeSamples],
    queries: Sequence[Sample],
    *,
    kept: Callable[[int], Path | None] = lambda _: None,
    state: Mapping[str, Tensor] | None = None,
    within: TrainedSet | None = None,
) -> Estimates:
    """See :class:`einfluence.estimators.measure.Implementation`."""

    def follow(path: Trajectory, queried: Sequence[Item], names: Sequence[str]) -> Followed:
        return Followed(influence(path, queried, fifth=arm.recipe.fifth))

    return along(base, arm, seed, probes, queries, within, follow)


def influence(
    path: Trajectory, queries: Sequence[Item], *, keep: int | None = None, fifth: int | None = None
) -> npt.NDArray[np.float64]:
    """The influence of each of a training's items on each query, in nats.

    As many queries are followed in one pass as fit into memory.

    Args:
        path: The training.
        queries: Q of them.
        keep: See :meth:`.Trajectory.backwards`.
        fifth: Only that of the steps in this fifth of the training, 1 to 5; None is the sum of all five.

    Returns:
        (items, Q).

    Raises:
        ArithmeticError: When a number is not finite.
    """
    most = path.most_adjoints
    counted = np.ones(len(path)) if fifth is None else shares(len(path), fifth)
    passes = [_one_pass(path, queries[i : i + most], keep, counted) for i in range(0, len(queries), most)]
    whole = np.concatenate(passes, 1)
    if not np.isfinite(whole).all():
        raise ArithmeticError("a product along the training is not finite")
    return whole


def shares(steps: int, fifth: int) -> npt.NDArray[np.float64]:
    """How much of each step of a training lies in one fifth of it: all fifths are of one length, and steps are cut."""
    bounds = np.arange(steps + 1) * 5
    inside = np.minimum(bounds[1:], fifth * steps) - np.maximum(bounds[:-1], (fifth - 1) * steps)
    return np.maximum(inside, 0) / 5


def _one_pass(
    path: Trajectory, queries: Sequence[Item], keep: int | None, counted: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """What each item did in the steps that count, each in part."""
    adjoint = remembered = torch.zeros(0)  # derivatives with respect to the parameters and to the first moment
    found = np.zeros((len(path.training.items), len(queries)))
    optimizer = path.recipe.optimizer
    first = int(np.flatnonzero(counted)[0])
    for index, before, after in path.backwards(keep):
        if index == len(path) - 1:
            adjoint = path.sample_gradients(after.values, queries)
            remembered = torch.zeros_like(adjoint)
        items, weights, divisor = path.batch(index)
        gradients, rate, decay = path.sample_gradients(before.values, items), path.rate(index), optimizer.weight_decay
        if isinstance(optimizer, Sgd):
            onward, kept, scale = 1.0, optimizer.momentum, torch.tensor(rate)
        else:
            kept, onward = optimizer.betas[0], 1 - optimizer.betas[0]
            n, taken = len(before.values), after.taken
            scales = path.adaptive_scales(after.memory[n:], taken)
            scale = flat(scales) * rate / (1 - optimizer.betas[0] ** taken)
        moment = remembered - adjoint * scale  # on what becomes of the gradient
        own = onward * moment * path.shrunk(-(weights @ gradients) / divisor)
        product = own @ gradients.T  # (Q, B)
        places = list(path.steps[index].step.batch)
        np.add.at(found, places, (-product.T / divisor).double().cpu().numpy() * counted[index])
        if index == first:
            break
        curved = (product * weights) @ gradients * (len(items) / divisor**2)
        decoupled = isinstance(optimizer, AdamW)
        adjoint = adjoint * (1 - rate * decay if decoupled else 1) + curved
        if decay and not decoupled:
            adjoint = adjoint + decay * onward * moment
        remembered = torch.zeros_like(adjoint) if path.steps[index].first else kept * moment
    return found
