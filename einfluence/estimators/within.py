"""What an estimator within a training set is given, and what one that compares trainings of it has to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from einfluence.samples import Sample
from einfluence.training_set import Members, Schedule, Variant


@dataclass(frozen=True)
class TrainedSet:
    """The training set that an estimate is about.

    Args:
        samples: In order.
        schedule: How it is gone through.
        places: The positions of the samples of each probe that is attributed, in the order of the probes.
        later: The samples of a second stage, in order.
    """

    samples: Sequence[Sample]
    schedule: Schedule
    places: tuple[tuple[int, ...], ...] = ()
    later: Sequence[Sample] = ()

    @property
    def first_stage(self) -> TrainedSet:
        """The same set without its second stage."""
        return replace(self, schedule=self.schedule.model_copy(update={"then": None}), later=())


class TrainingScores(NamedTuple):
    """What V trainings say of Q queries.

    Args:
        logprob: float64 array (V, Q), nats after each training; NaN where it failed.
        rank: int64 array (V, Q), as ``influence.rank_after``; 0 where it failed.
        n_tokens: int64 array (Q,), tokens of the targets.
        failed: Why, by the index of a training.
    """

    logprob: npt.NDArray[np.float64]
    rank: npt.NDArray[np.int64]
    n_tokens: npt.NDArray[np.int64]
    failed: Mapping[int, str]


class Attributed(NamedTuple):
    """The finding for one probe.

    Args:
        change: Columns of ``influence`` for the Q queries, what was not measured left out; None where it failed.
        failed: Why.
        note: What else its outcome says.
    """

    change: Mapping[str, npt.NDArray[Any]] | None
    failed: str | None = None
    note: str | None = None


class Within(Protocol):
    """The module of an estimator that is registered with ``within``."""

    def variants(self, arm: Any, members: Members, seed: int, probe_ids: Sequence[str]) -> list[Variant]:
        """The trainings that it needs in order to say something of some of the set's probes."""
        ...

    def attributed(
        self, arm: Any, members: Members, seed: int, probe_ids: Sequence[str], scores: TrainingScores
    ) -> Iterator[Attributed]:
        """What it says of each of these probes.

        Args:
            arm: Of the estimator's own kind.
            members: The training set.
            seed: The arm's.
            probe_ids: N of the set's probes.
            scores: Of the trainings that :meth:`variants` names for them, in that order.
        """
        ...
