"""What every engine can do, the definition included."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from torch import Tensor

from einfluence.engine.items import Item, Measurement, Tuned
from einfluence.engine.schedule import Training
from einfluence.models.base import Base
from einfluence.spec import Recipe


class Engine(Protocol):
    """Trains copies of one base by one recipe, and scores queries with them.

    Whatever it does at once, each training gives what it gives alone, and the base is left bit-identical. One that
    was not made for a base or recipe raises :class:`einfluence.engine.unknown.Unknown` when it is built.
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

    def reads(self, delta: Mapping[str, Tensor]) -> bool:
        """Whether the ``delta`` of an earlier training is in this engine's form."""
        ...

    @property
    def at_once(self) -> int:
        """How many trainings are held in memory at once, at most."""
        ...

    @property
    def held(self) -> int:
        """Bytes that are held for one of them."""
        ...


Kind = Callable[[Base, Recipe, int], Engine]
"""Builds an engine for a base, a recipe and the seed of its adapters."""
