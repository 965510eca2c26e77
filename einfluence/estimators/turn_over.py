"""Turn-over dropout: each sample moves one half of an adapter's ranks, and so the other half has never seen it.

Which half follows from a hash of the sample. Influence is log p(query; the sample's own half) - log p(query; the other
half), averaged over several trainings with other halves (Kobayashi et al. 2020, "Efficient estimation of influence of a
training instance", whose masks stand on hidden units). As with dropout, what is left of an adapter counts double: a set
of one sample is fine-tuning with half the ranks at scale 2 alpha / r, and its other half is the base.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from einfluence import engine
from einfluence.engine.descent import by_part
from einfluence.engine.generic import Part
from einfluence.engine.measurement import Item
from einfluence.engine.schedule import Loss
from einfluence.engine.unrolling import State, Trajectory
from einfluence.errors import InputError
from einfluence.estimators.along import Followed, along
from einfluence.estimators.estimate import Estimates
from einfluence.estimators.within import TrainedSet
from einfluence.models.base import Base
from einfluence.predictors import TurnOver
from einfluence.recipe import Lora
from einfluence.samples import ProbeSamples, Sample
from einfluence.training_set import shuffled

AT_ONCE = 32  # samples whose halves are held together

Halves = Mapping[str, Tensor]
"""Of each second factor (B) by name, what its columns are multiplied with for each of n samples: (n, r), 0 or 2."""


def block(
    base: Base,
    arm: TurnOver,
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
        return Followed(influence(path, queried, names, draws=arm.recipe.trainings, own=own))

    return along(base, arm, seed, probes, queries, within, follow)


def influence(
    path: Trajectory, queries: Sequence[Item], names: Sequence[str], *, draws: int, own: int | None = None
) -> npt.NDArray[np.float64]:
    """The influence of each of a training's items on each query, in nats.

    Args:
        path: The training without halves, by whose schedule those with halves are taken.
        queries: Q of them.
        names: What the hash of each item is made of.
        draws: Trainings, each with other halves.
        own: Only that of so many first items: those of a set, and not of a second stage.

    Returns:
        (items, Q).

    Raises:
        InputError: When the recipe has no adapter with ranks that can be halved.
        ArithmeticError: When a number is not finite.
    """
    count = len(names) if own is None else own
    total = np.zeros((count, len(queries)))
    for draw in range(draws):
        halves = drawn(path, names, draw)
        end = trained(path, halves)
        for begin in range(0, count, AT_ONCE):
            some = range(begin, min(begin + AT_ONCE, count))
            rows = list(_scored(path, queries, [d for i in some for d in two_halves(path, end, halves, i)]))
            total[some] += np.stack(rows[::2]) - np.stack(rows[1::2])
    if not np.isfinite(total).all():
        raise ArithmeticError("a query's log-probability is not finite")
    return total / draws


def drawn(path: Trajectory, names: Sequence[str], draw: int) -> Halves:
    """The halves of each sample: of each adapter half of its ranks, by a hash.

    Raises:
        InputError: When an adapter's columns are not its ranks.
    """
    adapter = cast("Lora", path.recipe.adapter)  # of an even rank, as the arm has checked
    seconds = [name for name in path.names if ".lora_B." in name]
    odd = next((name for name in seconds if path.engine.start[name].shape[1] != adapter.r), None)
    if odd is not None:
        raise InputError("recipe.adapter", f"{odd}, whose columns are not its ranks, for `turn_over`", "LoRA of layers")
    found_halves: dict[str, Tensor] = {}
    for name in seconds:
        rows = torch.zeros(len(names), adapter.r, dtype=path.engine.dtype, device=path.engine.device)
        for row, sample in zip(rows, names, strict=True):
            ranks = shuffled(adapter.r, "turn over", sample, name, path.seed, draw)[: adapter.r // 2]
            row[ranks] = 2.0
        found_halves[name] = rows
    return found_halves


def trained(path: Trajectory, halves: Halves) -> State:
    """The state after a training in which each item moves its own half.

    Raises:
        ArithmeticError: When a number is not finite.
    """
    state = path.start()
    for index in range(len(path)):
        state = path.begun(state, index)
        state = path.moved(state, index, path.clipped(_gradients(path, state, index, halves)))
        if not all(bool(value.isfinite().all()) for value in state.values):
            raise ArithmeticError(f"weights are not finite after {index + 1} steps")
    return state


def _gradients(path: Trajectory, state: State, index: int, halves: Halves) -> list[Tensor]:
    """The gradient of a step's loss, each of whose items is read with its own half."""
    items, weights, divisor = path.batch(index)
    places = list(path.steps[index].step.batch)
    own = [_halved(value, halves.get(name), places) for name, value in zip(path.names, state.values, strict=True)]
    losses = [Loss((item,), (weight,), divisor) for item, weight in zip(items, weights.tolist(), strict=True)]

    def of_part(part: Part, values: list[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        logits = path.engine.logits(dict(zip(path.names, values, strict=True)), part.batch, part.shared)
        loss = part.loss(logits)
        return loss, torch.autograd.grad(loss.sum(), values)

    _, found = by_part(path.engine.parts(losses), own, of_part)
    return [
        (gradient if name not in halves else gradient * _columns(halves[name][places], gradient)).sum(0)
        for name, gradient in zip(path.names, found, strict=True)
    ]


def _halved(value: Tensor, halves: Tensor | None, places: list[int]) -> Tensor:
    """A parameter as each of some items reads it."""
    stacked = value.detach().expand(len(places), *value.shape).clone()
    if halves is not None:
        stacked = stacked * _columns(halves[places], stacked)
    return stacked.requires_grad_()


def _columns(rows: Tensor, stacked: Tensor) -> Tensor:
    """Multipliers (n, r) in the shape of n stacked second factors (n, out, r, ...)."""
    return rows.view(len(rows), 1, rows.shape[1], *[1] * (stacked.dim() - 3))


def two_halves(path: Trajectory, end: State, halves: Halves, place: int) -> Iterator[dict[str, Tensor]]:
    """What a training with halves has changed, as one item's own half has it, and as the other half has."""
    for other in (False, True):
        delta = {name: start.clone() for name, start in path.engine.start.items()}
        for name, value in zip(path.names, end.values, strict=True):
            rows = halves[name][[place]] if name in halves else None
            if rows is not None:
                value = value * _columns(2.0 - rows if other else rows, value[None])[0]
            delta[name] = value.detach().clone()
        yield delta


def _scored(
    path: Trajectory, queries: Sequence[Item], deltas: Sequence[dict[str, Tensor]]
) -> Iterator[npt.NDArray[np.float64]]:
    """Log-probabilities of the queries with each delta in place."""
    kept = dict(enumerate(deltas))
    found = engine.measure(path.base, path.recipe, [path.training] * len(deltas), queries, path.seed, kept=kept)
    for row in found.rows:
        if row.after is None:
            raise ArithmeticError(row.tuned.failed)
        yield row.after.logprob
