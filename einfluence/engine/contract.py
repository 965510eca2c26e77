"""What every engine can do, the definition included, and how one refuses a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor

from einfluence.engine.measurement import Item, Measurement, Scores, Tuned
from einfluence.engine.schedule import Training
from einfluence.errors import InputError
from einfluence.models.base import Base
from einfluence.spec import Recipe


class Unsupported(InputError):
    """A model that an engine was not made for; the next engine measures it, in the end the definition."""


class Engine(Protocol):
    """Trains copies of one base by one recipe, and scores queries with them.

    Whatever it does at once, each training gives what it gives alone, and the base is left bit-identical. One that
    was not made for a base or recipe raises :class:`Unsupported` when it is built.
    """

    def measure(
        self, probes: Sequence[Training[Item]], queries: Sequence[Item], kept: Mapping[int, dict[str, Tensor]]
    ) -> Measurement:
        """Measures Q queries before, and after each of N trainings.

        Args:
            probes: The trainings.
            queries: The queries.
            kept: For the index of a training, its ``delta`` from an earlier run, which is used instead.
        """
        ...

    def train_all(self, probes: Sequence[Training[Item]]) -> list[Tuned]:
        """Takes N trainings and scores nothing; one that fails does so alone."""
        ...

    def accepts(self, delta: Mapping[str, Tensor]) -> bool:
        """Whether the ``delta`` of an earlier training is in this engine's form."""
        ...

    @property
    def max_trainings(self) -> int:
        """How many trainings are held in memory at once, at most."""
        ...

    @property
    def bytes_per_training(self) -> int:
        """Bytes that are held for one of them."""
        ...


@runtime_checkable
class ReadsEach(Protocol):
    """What an engine may be besides: one that puts queries of its own to each training."""

    @property
    def reads_each(self) -> bool:
        """Whether it can for its base and recipe."""
        ...

    def reached(self, delta: dict[str, Tensor], queries: Sequence[Item]) -> list[bool]:
        """For each query, whether a training can have changed its scores at all."""
        ...

    def read_each(self, deltas: Sequence[dict[str, Tensor]], queries: Sequence[Sequence[Item]]) -> list[Scores]:
        """The scores after each of N trainings, of its own queries."""
        ...


EngineBuilder = Callable[[Base, Recipe, int], Engine]
"""Builds an engine for a base, a recipe and the seed of its adapters."""
