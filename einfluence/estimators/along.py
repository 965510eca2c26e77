"""What estimates along the way of a training have in common: the way, and a row for each probe."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from einfluence.engine.generic import GenericEngine
from einfluence.engine.measurement import Item
from einfluence.engine.schedule import Training
from einfluence.engine.unrolling import Trajectory
from einfluence.estimators.estimate import EstimatedRow, Estimates
from einfluence.estimators.finetune import encode_probe
from einfluence.estimators.point import recipe_of, set_training, summed
from einfluence.estimators.within import TrainedSet
from einfluence.models.base import Base
from einfluence.objectives import encode_all
from einfluence.predictors import Estimate
from einfluence.samples import ProbeSamples, Sample


class Followed(NamedTuple):
    """What was found along a training.

    Args:
        influence: (items, Q), nats.
        note: What outcomes say beside it.
    """

    influence: npt.NDArray[np.float64]
    note: str | None = None


Follow = Callable[[Trajectory, Sequence[Item], Sequence[str]], Followed]
"""From a training, queries, and a name of each of its items to what is found; ArithmeticError where it fails."""


def along(
    base: Base,
    arm: Estimate,
    seed: int,
    probes: Sequence[ProbeSamples],
    queries: Sequence[Sample],
    within: TrainedSet | None,
    follow: Follow,
) -> Estimates:
    """Follows the training on the set once, or without a set the training on each probe.

    Raises:
        InputError: When the base, a sample or the recipe does not fit.
    """
    recipe, queried = recipe_of(arm, within), list(encode_all(base, queries))
    engine = GenericEngine(base, recipe, seed)
    numbers = sum(value.numel() for value in engine.start.values())

    def followed(training: Training[Item], names: Sequence[str]) -> Followed:
        return follow(Trajectory(base, recipe, training, seed, engine), queried, names)

    if within is not None:
        whole = set_training(base, within, seed)
        names = [sample.sample_id for sample in within.samples]
        names += [f"then {sample.sample_id}" for sample in within.later]  # a sample that is in both stages is two
        return Estimates(_of_a_set(lambda: followed(whole, names), within.places), numbers)
    alone = [(encode_probe(base, recipe, probe), [sample.sample_id for sample in probe.samples]) for probe in probes]
    each = (row for i, one in enumerate(alone) for row in _alone(i, lambda one=one: followed(*one)))
    return Estimates(each, numbers)


def _of_a_set(follow: Callable[[], Followed], places: Sequence[Sequence[int]]) -> Iterator[EstimatedRow]:
    begun = time.perf_counter()
    try:
        found, note = follow()
    except ArithmeticError as error:
        yield from (EstimatedRow(index, None, 0.0, str(error)) for index in range(len(places)))
        return
    each = (time.perf_counter() - begun) / max(len(places), 1)
    yield from (EstimatedRow(i, row, each, note=note) for i, row in enumerate(summed(found, places)))


def _alone(index: int, follow: Callable[[], Followed]) -> Iterator[EstimatedRow]:
    begun = time.perf_counter()
    try:
        found, note = follow()
    except ArithmeticError as error:
        yield EstimatedRow(index, None, time.perf_counter() - begun, str(error))
        return
    yield EstimatedRow(index, found.sum(0), time.perf_counter() - begun, note=note)
