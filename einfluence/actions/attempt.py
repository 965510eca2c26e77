"""What an action is given, and what it names."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import duckdb

from einfluence.arms import Arm, OfASet
from einfluence.prepare import Prepared
from einfluence.session import Session
from einfluence.spec import Spec
from einfluence.store.store import ArmKey, Store
from einfluence.training_set import FULL, Members, Variant


@dataclass(frozen=True)
class Scene:
    """What an action is about: one way of training on a part's set, with one seed.

    Args:
        spec: The spec.
        item: The part.
        store: The store, which has the cells of the arms.
        folder: Of the curation.
        members: The training set.
        trained: How it is trained on.
        key: The arm of its trainings.
        arms: Those that are about these trainings, estimates included, each with the key of its cells.
    """

    spec: Spec
    item: Prepared
    store: Store
    folder: Path
    members: Members
    trained: OfASet
    key: ArmKey
    arms: tuple[tuple[Arm, ArmKey], ...]

    @cached_property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The store's views, opened once for all that samples are chosen by: to bind them takes longer than to ask."""
        return self.store.connect()

    @property
    def where(self) -> str:
        """The part's actions, for messages."""
        return f"parts.{self.item.part.name}.actions"

    @property
    def label(self) -> str:
        """Base, way of training and seed, for run names and logs."""
        return f"{self.item.base.label} {self.trained.label} seed {self.key.seed}"

    def arms_of(self, estimator: str | None) -> list[ArmKey]:
        """The keys of an estimator's arms."""
        return [key for arm, key in self.arms if arm.estimator == estimator]


@dataclass(frozen=True)
class Attempt:
    """A training that an action makes.

    Args:
        variant: The training.
        method: How the action goes about it.
        reference: The training that it is compared with.
        chosen_by: Recipe of the arm whose influence decided.
        share: Of the set that it is about.
        draw: Which of several draws.
        query_id: The one query that it is about.
        about: What it is about, in words.
        cost: Samples gone through behind the schedule, over those that the reference goes through.
        note: What else to know.
    """

    variant: Variant
    method: str
    reference: Variant = FULL
    chosen_by: str | None = None
    share: float | None = None
    draw: int | None = None
    query_id: str | None = None
    about: str | None = None
    cost: float | None = None
    note: str | None = None


class Acting(Protocol):
    """The module of an action."""

    def check(self, action: Any, item: Prepared, spec: Spec, folder: Path) -> None:
        """Raises InputError before anything is computed where the action cannot be done."""
        ...

    def attempts(self, action: Any, scene: Scene) -> Sequence[Attempt]:
        """The trainings that it makes; those of :attr:`Attempt.reference` are made too."""
        ...

    def expected(self, action: Any, scene: Scene) -> Sequence[Variant]:
        """Trainings like those that it makes and no arm does, as many and as long; for a forecast, without cells.

        Those that follow from a lesson that the store lacks are not among them.
        """
        ...


class Rehearsed(NamedTuple):
    """What it would take to learn something, from doing a part of it.

    Args:
        seconds: Of one worker.
        memory: Peak bytes of the process.
        disk: Bytes that are kept.
        how: What was counted, in words.
    """

    seconds: float
    memory: int
    disk: int
    how: str


class Lesson(Protocol):
    """What an action has to learn before it can name some of its trainings: a state of the store."""

    @property
    def scene(self) -> Scene:
        """What it is about."""
        ...

    @property
    def state(self) -> str:
        """Content hash of all that it depends on."""
        ...

    @property
    def label(self) -> str:
        """What is learned, for run names and logs."""
        ...

    @property
    def alike(self) -> Hashable:
        """Lessons of one scene, or of its other seeds, that are equal in this take equally long."""
        ...

    @property
    def variants(self) -> Mapping[str, Variant]:
        """Trainings like those that cannot be named before, as many and as long, by names that no others have."""
        ...

    def learn(self, session: Session) -> None:
        """Learns it, and adds the state to the store."""
        ...

    def rehearsed(self, session: Session) -> Rehearsed:
        """What that would take; adds nothing to the store.

        Raises:
            ArithmeticError, RuntimeError: When what is rehearsed of it fails.
        """
        ...


class Learning(Acting, Protocol):
    """The module of an action that may have to learn states of the store before it can name all of its trainings."""

    def lessons(self, action: Any, scene: Scene, *, foreseen: bool = False) -> Sequence[Lesson]:
        """What it has to learn, also what the store has; ``foreseen`` where the arms have no cells yet: as many."""
        ...
