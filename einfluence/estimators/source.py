"""SOURCE: the rest of training as a product that is constant within each of a few segments of it.

Within a segment of K steps, curvature C and gradients are held at their means over a few states. What a sample's
gradient g leaves at the end of its segment is F(C) g, F(σ) = (1 - Π(1 - η_k σ)) / σ, and each later segment lets
Π(1 - η_k σ) of it stand (Bae et al. 2024, "Training data attribution via approximate unrolling", whose e^{-ηKσ} is
that product in the limit of small steps). On a quadratic loss gradient descent is followed exactly. Momentum multiplies
rates by 1 / (1 - momentum), and Adam's denominators, at their means, stand on both sides of C, as there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call

from einfluence.engine.measurement import Item
from einfluence.engine.unrolling import State, Trajectory, flat
from einfluence.errors import InputError
from einfluence.estimators.along import Followed, along
from einfluence.estimators.estimate import Estimates
from einfluence.estimators.within import TrainedSet
from einfluence.models.base import Base
from einfluence.predictors import Source
from einfluence.recipe import AdamW, Sgd
from einfluence.samples import ProbeSamples, Sample

MOST = 3000  # trained numbers up to which curvature is held as a matrix


@dataclass(frozen=True)
class Segment:
    """Some consecutive steps of a training.

    Args:
        rates: The learning rate of each, momentum included.
        curvature: Of a step's mean loss, decay included, between the roots of ``scales``.
        scales: What the optimizer multiplies gradients with.
        contributions: Mean gradient of each item's log-probability, times its mean share in a step's loss.
    """

    rates: Float[Tensor, " K"]
    curvature: Float[Tensor, "p p"]
    scales: Float[Tensor, " p"]
    contributions: Float[Tensor, "n p"]


def block(
    base: Base,
    arm: Source,
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
        given = arm.recipe
        return Followed(
            influence(path, queried, segments=given.segments, states=given.states, apart=within is not None)
        )

    return along(base, arm, seed, probes, queries, within, follow)


def influence(
    path: Trajectory, queries: Sequence[Item], *, segments: int = 3, states: int = 2, apart: bool = False
) -> npt.NDArray[np.float64]:
    """The influence of each of a training's items on each query, in nats.

    Args:
        path: The training.
        queries: Q of them.
        segments: How many the training is cut into.
        states: At which curvature and gradients of a segment are averaged.
        apart: Whether each stage of the training is cut into as many, since they are about other samples.

    Returns:
        (items, Q).

    Raises:
        InputError: When more than :data:`MOST` numbers are trained.
        ArithmeticError: When a number is not finite.
    """
    trained = sum(value.numel() for value in path.start().values)
    if trained > MOST:
        found, fix = f"{trained:,} trained numbers for `source`", "train fewer by `adapter`, or take `data_value`"
        raise InputError("recipe.adapter", found, f"at most {MOST:,}, whose curvature is held as a matrix", fix)
    cut = _cut([len(stage) for stage in path.training.stages] if apart else [len(path)], segments)
    looked = [sorted({steps[(2 * i + 1) * len(steps) // (2 * states)] for i in range(states)}) for steps in cut]
    wanted, seen = {index for some in looked for index in some}, dict[int, State]()
    scales = [torch.zeros(trained, dtype=path.engine.dtype) for _ in cut]
    of_step = {step: which for which, steps in enumerate(cut) for step in steps}
    end = path.start()
    for index, end in enumerate(path.states(path.start(), 0, len(path))):
        if index in wanted:
            seen[index] = end
        if index:
            scales[of_step[index - 1]] += _scales(path, end) / len(cut[of_step[index - 1]])
    adjoint = path.sample_gradients(end.values, queries)
    parts = [
        _segment(path, steps, [seen[index] for index in some], scale)
        for steps, some, scale in zip(cut, looked, scales, strict=True)
    ]
    found = followed(adjoint, parts).double().cpu().numpy()
    if not np.isfinite(found).all():
        raise ArithmeticError("a product along the training is not finite")
    return found


def _cut(stages: Sequence[int], segments: int) -> list[list[int]]:
    """The steps of each segment, where each of some stages of so many steps is cut into as many."""
    ends = np.cumsum(stages)
    each = (np.arange(end - steps, end) for end, steps in zip(ends, stages, strict=True))
    return [part.tolist() for some in each for part in np.array_split(some, min(segments, len(some)))]


def followed(adjoint: Float[Tensor, "Q p"], segments: Sequence[Segment]) -> Float[Tensor, "n Q"]:
    """What each item's contributions to some segments do to Q numbers whose gradients at the end are known."""
    total = adjoint.new_zeros(len(segments[0].contributions), len(adjoint))
    for segment in reversed(segments):
        values, vectors = torch.linalg.eigh(segment.curvature)
        values = values.clamp(min=0.0)
        root = segment.scales.sqrt()

        def applied(
            function: Callable[[Tensor], Tensor], rows: Tensor, values: Tensor = values, vectors: Tensor = vectors
        ) -> Tensor:
            return (rows @ vectors * function(values)) @ vectors.T

        def left(values: Tensor, rates: Tensor = segment.rates) -> Tensor:
            # A rate that would overshoot has long arrived: an overestimated curvature must not swing.
            return (1 - rates[:, None] * values).clamp(min=0.0).prod(0)

        def gone(values: Tensor, rates: Tensor = segment.rates, left: Callable[[Tensor], Tensor] = left) -> Tensor:
            flat = values <= 1e-12 * values.max().clamp(min=1e-30)
            return torch.where(flat, rates.sum(), (1 - left(values)) / torch.where(flat, 1.0, values))

        total += segment.contributions @ (applied(gone, adjoint * root) * root).T
        adjoint = applied(left, adjoint * root) / root
    return total


def _segment(path: Trajectory, steps: Sequence[int], states: Sequence[State], scales: Tensor) -> Segment:
    items, optimizer = path.training.items, path.recipe.optimizer
    share = torch.zeros(len(items), dtype=path.engine.dtype)
    for index in steps:
        _, weights, divisor = path.batch(index)
        share.index_add_(0, torch.tensor(path.steps[index].step.batch), weights / (divisor * len(steps)))
    present = share.nonzero().flatten().tolist()
    own = [items[i] for i in present]
    some = torch.stack([path.sample_gradients(state.values, own) for state in states]).mean(0)
    contributions = torch.zeros(len(items), some.shape[1], dtype=some.dtype)
    contributions[present] = some * share[present, None]
    curved = torch.stack([gauss_newton(path, state.values, own, share[present]) for state in states]).mean(0)
    momentum = 1 / (1 - optimizer.momentum) if isinstance(optimizer, Sgd) else 1.0
    rates = torch.tensor([path.rate(index) * momentum for index in steps], dtype=path.engine.dtype)
    decay = optimizer.weight_decay * torch.ones_like(scales)
    curved = scales.sqrt()[:, None] * curved * scales.sqrt()
    curved += torch.diag(decay if isinstance(optimizer, AdamW) else decay * scales)
    return Segment(rates, curved, scales, contributions)


def gauss_newton(
    path: Trajectory, values: Sequence[Tensor], items: Sequence[Item], weights: Float[Tensor, " n"]
) -> Float[Tensor, "p p"]:
    """The Gauss-Newton matrix of a weighted sum of the items' losses, which is their Fisher matrix."""
    leaves = [value.detach().requires_grad_() for value in values]
    count = sum(value.numel() for value in values)
    total = torch.zeros(count, count, dtype=values[0].dtype)
    for item, weight in zip(items, weights, strict=True):
        batch = path.engine.collated([item])

        def call(*args: Any, **inputs: Any) -> Any:
            return functional_call(path.engine.model, dict(zip(path.names, leaves, strict=True)), args, inputs)

        logits = path.objective.logits(call, batch)[0]
        for target in logits[batch.counts[0]]:
            eye: Any = torch.eye(len(target), dtype=target.dtype)
            rows: Any = torch.autograd.grad(target, leaves, eye, is_grads_batched=True, retain_graph=True)
            jacobian, chance = flat(rows, 1), F.softmax(target.detach(), -1)
            mean = chance @ jacobian
            total += weight * ((jacobian.T * chance) @ jacobian - mean[:, None] * mean)
    return total


def _scales(path: Trajectory, after: State) -> Float[Tensor, " p"]:
    """What the optimizer has multiplied gradients with in the step to a state."""
    if isinstance(path.recipe.optimizer, Sgd):
        return torch.ones_like(flat(after.values))
    return flat(path.adaptive_scales(after.memory[len(after.values) :], after.taken))
