"""Weights of a set's samples that are learned: by the derivative of held-out log-probability through the training."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from einfluence.engine.measurement import Item
from einfluence.engine.metagradient import mean_logprob, metagradient
from einfluence.engine.unrolling import Trajectory
from einfluence.estimators.unrolled import ROUGH, SMOOTH, RoughWarning, metasmoothness

BETAS = (0.5, 0.999)  # of Adam, as in betty's example of learning by ignoring


class Learned(NamedTuple):
    """What was learned.

    Args:
        weights: float64 (n,), 1 on average: those of the step at which the queries had their highest mean.
        means: float64 (steps + 1,), the queries' mean log-probability before each step and behind the last, in nats.
        metasmoothness: float64 (), of the training as written.
    """

    weights: Tensor
    means: Tensor
    metasmoothness: Tensor


def learn(path: Trajectory, queries: Sequence[Item], n: int, *, steps: int, lr: float) -> Learned:
    """Learns the weights of a training's first n items, each sigmoid(w) over the mean of all; w is 0 at first.

    So it begins with the training as written, and what one sample weighs less the others weigh more. Adam climbs the
    mean log-probability of the queries by its exact derivative through every step of the training, all stages included.

    Args:
        path: The training, as written.
        queries: At least one.
        n: How many of the items have a weight: those of the set, which come before those of a second stage.
        steps: Of Adam, at least one.
        lr: Its learning rate.

    Warns:
        RoughWarning: Where derivatives say little, as for the estimator ``unrolled``.

    Raises:
        ArithmeticError: When a number is not finite.
    """
    smooth = metasmoothness(path, path.seed)
    if smooth < SMOOTH:
        warnings.warn(f"metasmoothness {smooth:.2f}: {ROUGH}", RoughWarning, stacklevel=2)
    logits = torch.zeros(n, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=lr, betas=BETAS, maximize=True)
    means, tried = list[float](), list[Tensor]()
    for _ in range(steps):
        weights = weights_of(logits)
        mean, gradient = metagradient(_with(path, weights), queries)
        means.append(mean)
        optimizer.zero_grad()
        weights.backward(torch.from_numpy(gradient[:n]))
        optimizer.step()
        tried.append(weights_of(logits).detach())
    means.append(mean_logprob(_with(path, tried[-1]), queries))
    best = max(range(steps), key=lambda step: means[step + 1])
    numbers = [torch.tensor(each, dtype=torch.float64) for each in (means, smooth)]
    return Learned(tried[best], *numbers)


def weights_of(logits: Tensor) -> Tensor:
    """sigmoid(w) of each, over their mean."""
    share = torch.sigmoid(logits)
    return share / share.mean()


def _with(path: Trajectory, weights: Tensor) -> Trajectory:
    return path.reweighted(dict(enumerate(weights.tolist())))
