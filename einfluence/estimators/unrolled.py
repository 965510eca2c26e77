"""Unrolled differentiation: how a query's log-probability after a training changes with the weight of a sample.

The exact derivative d log p(query; θ(w)) / dw at w = 1, taken backwards through every step of the training, optimizer
included: to first order what leaving the sample out would cost (MAGIC: Ilyas and Engstrom 2025; Engstrom et al. 2025,
arXiv 2503.13751).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from einfluence.engine.measurement import Item
from einfluence.engine.unrolling import Trajectory, flat
from einfluence.estimators.along import Followed, along
from einfluence.estimators.estimate import MATH, Estimates
from einfluence.estimators.within import TrainedSet
from einfluence.models.base import Base
from einfluence.predictors import Unrolled
from einfluence.samples import ProbeSamples, Sample

SMOOTH = 0.5  # metasmoothness below which a derivative says little about leaving a sample out
ROUGH = (
    "the training is too rough for derivatives to say what leaving a sample out does; take SGD, a larger `eps` or batch"
)
STEP = 0.05  # of the finite differences that metasmoothness compares


class RoughWarning(UserWarning):
    """A training whose metasmoothness is below :data:`SMOOTH`."""


def block(
    base: Base,
    arm: Unrolled,
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
        own = None if within is None else len(within.samples)
        found, smooth = influence(path, queried), metasmoothness(path, path.seed, own)
        note = f"metasmoothness {smooth:.2f}"
        if smooth < SMOOTH:
            note += f": {ROUGH}"
            warnings.warn(note, RoughWarning, stacklevel=2)
        attention = getattr(getattr(base.model, "config", None), "_attn_implementation", None)
        return Followed(found, f"{note}; {MATH}" if attention == "sdpa" else note)

    return along(base, arm, seed, probes, queries, within, follow)


def influence(
    path: Trajectory, queries: Sequence[Item], *, keep: int | None = None, at_once: int = 16
) -> npt.NDArray[np.float64]:
    """The derivative for each of a training's items and each query, in nats.

    As many queries are followed in one pass as fit into memory.

    Args:
        path: The training.
        queries: Q of them.
        keep: See :meth:`.Trajectory.backwards`.
        at_once: Queries that are followed together; each takes as much memory as a state and a batch's activations.

    Returns:
        (items, Q).

    Raises:
        ArithmeticError: When a number is not finite.
    """
    most = path.most_adjoints
    passes = [_one_pass(path, queries[i : i + most], keep, at_once) for i in range(0, len(queries), most)]
    whole = np.concatenate(passes, 1)
    if not np.isfinite(whole).all():
        raise ArithmeticError("a derivative through the training is not finite")
    return whole


def _one_pass(path: Trajectory, queries: Sequence[Item], keep: int | None, at_once: int) -> npt.NDArray[np.float64]:
    chunks = [queries[i : i + at_once] for i in range(0, len(queries), at_once)]
    found = [np.zeros((len(path.training.items), len(chunk))) for chunk in chunks]
    adjoints: list[list[Tensor]] = []
    for index, before, after in path.backwards(keep):
        adjoints = adjoints or [_at_end(path, after.tensors, chunk) for chunk in chunks]
        for which, total in enumerate(found):
            adjoints[which], own = path.pulled_back(before, index, adjoints[which])
            np.add.at(total, list(path.steps[index].step.batch), own.T.double().cpu().numpy())
    return np.concatenate(found, 1)


def _at_end(path: Trajectory, end: Sequence[Tensor], queries: Sequence[Item]) -> list[Tensor]:
    """The derivatives of the queries' log-probabilities with respect to the last state."""
    n = len(path.names)
    gradients = path.sample_gradients(end[:n], queries)
    sizes = [value.numel() for value in end[:n]]
    values = [part.view(len(queries), *v.shape) for part, v in zip(gradients.split(sizes, 1), end[:n], strict=True)]
    return [*values, *(torch.zeros(len(queries), *memory.shape).to(memory) for memory in end[n:])]


def metasmoothness(path: Trajectory, seed: int, own: int | None = None) -> float:
    """How far small changes of the samples' weights act linearly: 1 where they do, about 0 where the way is rough.

    The agreement in sign of two consecutive finite differences of the trained parameters along a random direction of
    the weights, each parameter counting as far as it moves (Definition 2 of Engstrom et al. 2025). It takes three
    trainings.

    Args:
        path: The training.
        seed: Of the direction.
        own: Only the weights of so many of its first items are changed: those of a set, and not of a second stage.
    """
    n = len(path.training.items) if own is None else own
    direction = np.random.default_rng(seed).standard_normal(n)
    ends = [
        flat(path.reweighted({i: 1 + STEP * times * v for i, v in enumerate(direction)}).end().values).double()
        for times in range(3)
    ]
    first, second, moved = ends[1] - ends[0], ends[2] - ends[1], (ends[2] - ends[0]).abs()
    total = moved.sum()
    return 1.0 if total == 0 else float((moved / total * first.sign() * second.sign()).sum())
