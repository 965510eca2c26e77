"""What a copy of the base is trained on, step by step.

A training has items, and stages of steps. Each step trains on a mini-batch of the items, each of which has a weight;
each stage begins with an optimizer that remembers nothing. A probe is a training on all its samples at every step
(:func:`probe_training`), or where it is a sequence, one whose stages train on one sample each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Literal, TypeVar

from einfluence.engine.measurement import Item

T = TypeVar("T")
U = TypeVar("U")

Rhythm = tuple[tuple[float, ...], ...]
TrainingKind = Literal["joint", "sequential", "scheduled"]


@dataclass(frozen=True)
class Step:
    """One step of the optimizer.

    Its loss is the sum over the batch of weight times negative log-probability of the item's target, over a divisor
    that does not know the weights. So an item of weight 0 is left out, while all others count what they counted.
    Where all weights are 0 the gradient is 0, and the step is taken all the same: momentum and decay go on.

    Args:
        batch: Indices of the items that it trains on; one may be there more than once.
        weights: Of each of them; None means 1 each.
        divisor: None means the number of target tokens in the batch, those of weight 0 included.
        rate: Share of the recipe's learning rate that this step takes: what a schedule changes.
    """

    batch: tuple[int, ...]
    weights: tuple[float, ...] | None = None
    divisor: float | None = None
    rate: float = 1.0

    def __post_init__(self) -> None:
        if not self.batch:
            raise ValueError("a step that trains on nothing")
        if self.weights is not None and len(self.weights) != len(self.batch):
            raise ValueError(f"{len(self.weights)} weights for a batch of {len(self.batch)}")
        if not all(math.isfinite(weight) for weight in self.weights or ()):
            raise ValueError(f"weights that are not finite: {self.weights}")
        if self.divisor is not None and not 0 < self.divisor < math.inf:
            raise ValueError(f"a divisor of {self.divisor}")
        if not 0 <= self.rate < math.inf:
            raise ValueError(f"a share of {self.rate} of the learning rate")


@dataclass(frozen=True)
class Training(Generic[T]):
    """What one copy of the base is trained on.

    Args:
        items: The samples, encoded or not.
        stages: The steps of each stage, in order.
    """

    items: tuple[T, ...]
    stages: tuple[tuple[Step, ...], ...]

    def __post_init__(self) -> None:
        used = {index for step in set(self.steps) for index in step.batch}
        if used and not 0 <= min(used) <= max(used) < len(self.items):
            raise ValueError(f"steps on the items {min(used)} to {max(used)} of {len(self.items)}")

    @property
    def steps(self) -> tuple[Step, ...]:
        """Those of all stages."""
        return tuple(step for stage in self.stages for step in stage)

    @property
    def rhythm(self) -> Rhythm:
        """The rate of each step of each stage. Trainings of one rhythm can be taken side by side."""
        return tuple(tuple(step.rate for step in stage) for stage in self.stages)

    @property
    def kind(self) -> TrainingKind:
        """``joint``: every step on all items; ``sequential``: a stage for each item; ``scheduled``: all else."""
        everything = Step(tuple(range(len(self.items)))) if self.items else None
        if len(self.stages) == 1 and set(self.stages[0]) <= {everything}:
            return "joint"
        each = all(set(stage) <= {Step((index,))} for index, stage in enumerate(self.stages))
        return "sequential" if each and len(self.stages) == len(self.items) else "scheduled"

    def mapped(self, change: Callable[[T], U]) -> Training[U]:
        """The same training on changed items."""
        return Training(tuple(change(item) for item in self.items), self.stages)

    def until(self, steps: int) -> Training[T]:
        """Its first steps alone, at the rates that they have in the whole."""
        stages: list[tuple[Step, ...]] = []
        for stage in self.stages:
            stages.append(stage[: max(steps - sum(map(len, stages)), 0)])
        return replace(self, stages=tuple(stage for stage in stages if stage))

    def weighted(self, weights: Mapping[int, float]) -> Training[T]:
        """The same training with other weights: by the index of an item, 1 for those that are not named."""

        def changed(step: Step) -> Step:
            own = tuple(float(weights.get(index, 1.0)) for index in step.batch)
            return replace(step, weights=None if set(own) == {1.0} else own)

        return replace(self, stages=tuple(tuple(map(changed, stage)) for stage in self.stages))


Probe = Training[Item] | Sequence[Item]
"""A training, or for short the samples of a probe that are trained together at each of the recipe's steps."""


def probe_training(items: Sequence[T], steps: int, *, sequential: bool = False) -> Training[T]:
    """The training of a probe.

    Args:
        items: Its samples.
        steps: The recipe's; each sample of a sequence has as many to itself.
        sequential: Whether the samples are trained one after the other.
    """
    batches = [(index,) for index in range(len(items))] if sequential else [tuple(range(len(items)))]
    return Training(tuple(items), tuple((Step(batch),) * steps for batch in batches))


def as_training(probe: Probe, steps: int) -> Training[Item]:
    """The training itself, or that of a probe whose samples are trained together."""
    return probe if isinstance(probe, Training) else probe_training(probe, steps)


@dataclass(frozen=True)
class Loss:
    """What a step's loss is made of: the weighted nats of some items, over a divisor.

    Args:
        items: Those of the batch whose weight is not 0.
        weights: Of each of them.
        divisor: See :class:`Step`.
    """

    items: tuple[Item, ...]
    weights: tuple[float, ...]
    divisor: float


def batch_of(training: Training[Item], step: Step) -> tuple[list[Item], tuple[float, ...], float]:
    """The items of one of a training's steps, their weights, and what the loss is divided by."""
    batch = [training.items[index] for index in step.batch]
    divisor = float(sum(item.n_target for item in batch)) if step.divisor is None else step.divisor
    return batch, step.weights or (1.0,) * len(batch), divisor


def loss_of(training: Training[Item], step: Step) -> Loss:
    """The loss of one of a training's steps."""
    batch, weights, divisor = batch_of(training, step)
    kept = [(item, weight) for item, weight in zip(batch, weights, strict=True) if weight]
    return Loss(tuple(item for item, _ in kept), tuple(weight for _, weight in kept), divisor)
