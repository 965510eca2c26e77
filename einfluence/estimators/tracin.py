"""Dot products of gradients along the training itself: TracIn, at every step.

Influence is the sum over steps t of eta_t * a_q(theta_t) . d_z(theta_t), where d_z is what the probe's samples have in
the step's gradient, downhill: their share of the batch, times what clipping leaves and, for Adam, what the step
multiplies each element by (Pruthi et al. 2020, "Estimating training data influence by tracing gradient descent",
equation 1, with every step in the place of checkpoints). Alone the way is that of the probe's own training, within a
set that of the training on all of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import Tensor

from einfluence.engine.gradients.collector import Collector
from einfluence.engine.gradients.definition import Point
from einfluence.engine.gradients.trajectory import Moment, moments
from einfluence.engine.measurement import Item
from einfluence.engine.schedule import Training, loss_of
from einfluence.estimators.estimate import EstimatedRow, Estimates
from einfluence.estimators.finetune import encode_probe
from einfluence.estimators.grad_dot import plain, scaled
from einfluence.estimators.point import recipe_of, set_training
from einfluence.estimators.pushes import Push, Pushes, scores
from einfluence.estimators.within import TrainedSet
from einfluence.models.base import Base
from einfluence.objectives import encode_all
from einfluence.predictors import TracIn
from einfluence.recipe import Recipe
from einfluence.samples import ProbeSamples, Sample


def block(
    base: Base,
    arm: TracIn,
    seed: int,
    probes: Sequence[ProbeSamples],
    queries: Sequence[Sample],
    *,
    kept: Callable[[int], Path | None] = lambda _: None,
    state: Mapping[str, Tensor] | None = None,
    within: TrainedSet | None = None,
) -> Estimates:
    """See :class:`einfluence.estimators.measure.Implementation`."""
    recipe, queried = recipe_of(arm, within), list(encode_all(base, queries))
    numbers = Point.start(base, recipe, seed).numbers
    if within is None:
        trainings = [encode_probe(base, recipe, probe) for probe in probes]
        every = [[tuple(range(len(training.items)))] for training in trainings]
        return Estimates(_alone(base, recipe, seed, trainings, every, queried), numbers)
    begun, whole = time.perf_counter(), set_training(base, within, seed)
    found = along(base, recipe, seed, whole, within.places, queried)
    seconds = (time.perf_counter() - begun) / max(len(probes), 1)
    return Estimates((EstimatedRow(i, column, seconds) for i, column in enumerate(found.T)), numbers)


def _alone(
    base: Base,
    recipe: Recipe,
    seed: int,
    trainings: Sequence[Training[Item]],
    places: Sequence[Sequence[Sequence[int]]],
    queries: Sequence[Item],
) -> Iterator[EstimatedRow]:
    for index, (training, own) in enumerate(zip(trainings, places, strict=True)):
        begun = time.perf_counter()
        try:
            found = along(base, recipe, seed, training, own, queries)[:, 0]
        except RuntimeError as error:
            yield EstimatedRow(index, None, time.perf_counter() - begun, str(error))
            continue
        yield EstimatedRow(index, found, time.perf_counter() - begun)


def along(
    base: Base,
    recipe: Recipe,
    seed: int,
    training: Training[Item],
    places: Sequence[Sequence[int]],
    queries: Sequence[Item],
) -> npt.NDArray[np.float64]:
    """(Q, N) nats that samples of a training have moved queries by, on its way.

    Args:
        base: The base.
        recipe: Of the training.
        seed: Of start values.
        training: The training.
        places: For each of N, which of its items.
        queries: Q of them.

    Raises:
        RuntimeError: When the training fails.
    """
    point = Point.start(base, recipe, seed)
    collector, total = Collector(point), np.zeros((len(queries), len(places)))
    try:
        for moment in moments(point, recipe, training):
            product = plain if moment.scales is None else scaled(moment.scales)
            total += recipe.optimizer.lr * scores(collector, _pushes(training, moment, places), queries, product)
    except ArithmeticError as error:
        raise RuntimeError(f"the training failed: {error}") from error
    return total


def _pushes(training: Training[Item], moment: Moment, places: Sequence[Sequence[int]]) -> Pushes:
    loss, share = loss_of(training, moment.step), moment.carried * moment.kept
    batch = moment.step.batch
    each: list[tuple[Push, ...]] = []
    for own in places:
        inside = [training.items[index] for index in batch if index in set(own)]
        each.append((Push(share, tuple((item, 1.0 / loss.divisor) for item in inside)),) if inside else ())
    return Pushes(tuple(each))
