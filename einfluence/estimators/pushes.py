"""What the probes of a block push the parameters by, and what follows for queries: sums of products of gradients."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from einfluence.engine.gradients.collector import Collector
from einfluence.engine.gradients.features import Features
from einfluence.engine.gradients.trajectory import carry
from einfluence.engine.measurement import Item
from einfluence.engine.schedule import Training, loss_of
from einfluence.estimators.estimate import EstimatedRow, Estimates
from einfluence.estimators.finetune import encode_probe
from einfluence.estimators.within import TrainedSet
from einfluence.models.base import Base
from einfluence.recipe import Recipe
from einfluence.samples import ProbeSamples

QUERIES = 256  # queries whose gradients are held at once


class Push(NamedTuple):
    """So many steps of the full learning rate along the gradient of a weighted sum of log-probs."""

    steps: float
    items: tuple[tuple[Item, float], ...]


@dataclass(frozen=True)
class Pushes:
    """What each of N probes pushes the parameters by.

    Args:
        each: Of each probe.
    """

    each: tuple[tuple[Push, ...], ...]

    @cached_property
    def items(self) -> list[Item]:
        """All samples, as often as they push."""
        return [item for some in self.each for push in some for item, _ in push.items]

    def added(self, features: Features) -> Features:
        """From features of :attr:`items` to those of the probes: all pushes added up, each as long as it is."""
        rows = [
            (weight * push.steps, probe)
            for probe, some in enumerate(self.each)
            for push in some
            for _, weight in push.items
        ]
        return _grouped(features, rows, len(self.each))

    def apart(self, features: Features) -> Features:
        """From features of :attr:`items` to those of single pushes, of one step each."""
        every = (push for some in self.each for push in some)
        rows = [(weight, index) for index, push in enumerate(every) for _, weight in push.items]
        return _grouped(features, rows, sum(map(len, self.each)))

    def together(self, products: Tensor) -> Tensor:
        """From (Q, pushes), what queries make of single pushes of one step, to (Q, N)."""
        found = products.new_zeros(len(products), len(self.each))
        owner = [probe for probe, some in enumerate(self.each) for _ in some]
        steps = products.new_tensor([push.steps for some in self.each for push in some])
        return found.index_add_(1, torch.tensor(owner, device=products.device), products * steps)


def _grouped(features: Features, rows: Sequence[tuple[float, int]], count: int) -> Features:
    like = features.like
    weight = like.new_tensor([weight for weight, _ in rows])
    return features.grouped(weight, torch.tensor([group for _, group in rows], device=like.device), count)


def pushes_alone(base: Base, recipe: Recipe, probes: Sequence[ProbeSamples]) -> Pushes:
    """Those of probes that are trained on alone: each stage takes all its steps on the same batch."""
    each: list[tuple[Push, ...]] = []
    for probe in probes:
        training = encode_probe(base, recipe, probe)
        some: list[Push] = []
        for stage in filter(None, training.stages):
            loss = loss_of(training, stage[0])
            weights = [weight / loss.divisor for weight in loss.weights]
            steps = sum(carry(recipe, [step.rate for step in stage]))
            some.append(Push(steps, tuple(zip(loss.items, weights, strict=True))))
        each.append(tuple(some))
    return Pushes(tuple(each))


def pushes_within(within: TrainedSet, recipe: Recipe, whole: Training[Item]) -> Pushes:
    """Those of probes in a training set: of each sample its share of every step that it is in."""
    steps = np.zeros(len(whole.items))
    for stage in whole.stages:
        for step, carried in zip(stage, carry(recipe, [step.rate for step in stage]), strict=True):
            divisor = loss_of(whole, step).divisor
            for index in step.batch:
                steps[index] += carried / divisor
    own = [Push(float(steps[place]), ((item, 1.0),)) for place, item in enumerate(whole.items)]
    return Pushes(tuple(tuple(own[place] for place in places) for places in within.places))


Product = Callable[[str, Features], Callable[[Features], Tensor]]
"""From the name of a parameter and the features of N probes to a function of those of Q queries that gives (Q, N)."""


def estimates(
    collector: Collector,
    pushes: Pushes,
    queries: Sequence[Item],
    product: Product,
    scale: float,
    *,
    apart: bool = False,
    asked: Collector | None = None,
    note: str | None = None,
) -> Estimates:
    """Influence as a sum over parameters of products of gradients.

    Args:
        collector: Gives the gradients.
        pushes: Of N probes.
        queries: Q of them.
        product: Of a parameter.
        scale: Of all.
        apart: Whether pushes come to ``product`` one by one, where it is not linear in them.
        asked: Gives the gradients of queries, where those are taken elsewhere.
        note: What outcomes say beside it.
    """
    begun = time.perf_counter()
    found = scores(collector, pushes, queries, product, apart=apart, asked=asked)
    seconds = (time.perf_counter() - begun) / max(len(pushes.each), 1)
    rows = (row(index, scale * column, seconds, note) for index, column in enumerate(found.T))
    return Estimates(rows, collector.point.numbers)


def scores(
    collector: Collector,
    pushes: Pushes,
    queries: Sequence[Item],
    product: Product,
    *,
    apart: bool = False,
    asked: Collector | None = None,
) -> npt.NDArray[np.float64]:
    """The sum over parameters (Q, N); see :func:`estimates`."""
    columns = sum(map(len, pushes.each)) if apart else len(pushes.each)
    total = torch.zeros(len(queries), columns, dtype=torch.float64, device=collector.device)
    some = [*pushes.items, *queries]
    for names in collector.groups(some) if pushes.items and queries else ():
        own = collector.collect(pushes.items, names)
        added = pushes.apart if apart else pushes.added
        by_name = {name: product(name, added(each)) for name, each in own.items()}
        for begin in range(0, len(queries), QUERIES):
            queried = (asked or collector).collect(queries[begin : begin + QUERIES], names)
            for name in names:
                total[begin : begin + QUERIES] += by_name[name](queried[name])
    return (pushes.together(total) if apart else total).cpu().numpy()


def row(index: int, influence: npt.NDArray[np.float64], seconds: float, note: str | None = None) -> EstimatedRow:
    """A probe's row; failed where a query's gradient is no number."""
    bad = int((~np.isfinite(influence)).sum())
    failed = f"gradients that are no numbers, of {bad} of {len(influence)} queries" if bad else None
    return EstimatedRow(index, None if bad else influence, seconds, failed, None if bad else note)
