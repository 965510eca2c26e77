"""The dot product of gradients: what a probe's steps would do to a query if they all were the first one.

Influence is eta * steps * a_q . d_z, where a_q is the gradient of the query's log-prob, and d_z what the optimizer
makes of the gradient g_z of the probe's mean loss: -g_z for SGD, and for Adam what its first step is,
-g_z / (|g_z| + eps). Alone it is taken at the base. Within a training set it is taken at the trained model, d_z is
-g_z, and `steps` is the sum, over the steps that a sample is in, of its share of their targets.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from einfluence.engine.gradients.definition import Point, logprob_gradient
from einfluence.engine.measurement import Item
from einfluence.engine.schedule import Training, loss_of
from einfluence.estimators.estimate import EstimatedRow, Estimates
from einfluence.estimators.finetune import encode_probe
from einfluence.estimators.point import moved, point_of, recipe_of
from einfluence.estimators.training import whole_training
from einfluence.estimators.within import TrainedSet
from einfluence.models.base import Base
from einfluence.objectives import encode_all
from einfluence.predictors import GradDot
from einfluence.recipe import Recipe, Sgd
from einfluence.samples import ProbeSamples, Sample


def block(
    base: Base,
    arm: GradDot,
    seed: int,
    probes: Sequence[ProbeSamples],
    queries: Sequence[Sample],
    *,
    kept: Callable[[int], Path | None] = lambda _: None,
    state: Mapping[str, Tensor] | None = None,
    within: TrainedSet | None = None,
) -> Estimates:
    """See :class:`einfluence.estimators.measure.Implementation`."""
    recipe, point = recipe_of(arm, within), point_of(base, arm, seed, within)
    asked = list(encode_all(base, queries))
    if within is not None:
        items = list(encode_all(base, within.samples))
        steps = moved(whole_training(items, within.schedule, seed))
        whole = [Push(float(steps[i]), ((item, 1 / item.n_target),)) for i, item in enumerate(items)]
        own = ([whole[place] for place in places] for places in within.places)
        return Estimates(_rows(recipe, point, own, asked, _plain))
    alone = (pushes_of(encode_probe(base, recipe, probe)) for probe in probes)
    kind = recipe.optimizer
    direction = _plain if isinstance(kind, Sgd) else partial(_first_of_adam, eps=kind.eps)
    return Estimates(_rows(recipe, point, alone, asked, direction))


class Push(NamedTuple):
    """What moves the parameters: so many steps along the gradient of a weighted sum of log-probs."""

    steps: float
    items: tuple[tuple[Item, float], ...]


def pushes_of(training: Training[Item]) -> list[Push]:
    """What a probe's training does: each of its stages takes all its steps on the same batch."""
    found: list[Push] = []
    for stage in filter(None, training.stages):
        loss = loss_of(training, stage[0])
        weights = tuple((item, weight / loss.divisor) for item, weight in zip(loss.items, loss.weights, strict=True))
        found.append(Push(sum(step.rate for step in stage), weights))
    return found


def _rows(
    recipe: Recipe, point: Point, pushes: Iterable[Sequence[Push]], queries: Sequence[Item], direction: Direction
) -> Iterator[EstimatedRow]:
    asked = [logprob_gradient(point, query) for query in queries]
    for index, some in enumerate(pushes):
        begun = time.perf_counter()
        total = {name: torch.zeros_like(value) for name, value in point.trained.items()}
        for push in some:
            gradient = {name: torch.zeros_like(value) for name, value in point.trained.items()}
            for item, weight in push.items:
                for name, value in logprob_gradient(point, item).items():
                    gradient[name] += weight * value
            for name, value in gradient.items():
                total[name] += push.steps * direction(value)
        found = torch.stack([torch.stack([(a[name] * total[name]).sum() for name in total]).sum() for a in asked])
        influence = recipe.optimizer.lr * found.double().cpu().numpy()
        yield EstimatedRow(index, influence, time.perf_counter() - begun)


Direction = Callable[[Tensor], Tensor]
"""From the gradient of a log-prob to what one step moves for each unit of the learning rate."""


def _plain(uphill: Tensor) -> Tensor:
    return uphill


def _first_of_adam(uphill: Tensor, eps: float) -> Tensor:
    return uphill / (uphill.abs() + eps)
