"""Training sets: samples in order and a schedule; and trainings, each of which leaves some of the samples out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from einfluence.keys import content_hash
from einfluence.recipe import Count, Float, Int, Model, Seed, changed


class Stage(Model):
    """How often, in which order and how fast some samples are gone through."""

    epochs: Count = Field(default=1, description="how often each sample is trained on")
    batch_size: Count = Field(default=8, description="samples a step; the last batch of an epoch may be smaller")
    shuffle_seed: Seed | None = Field(
        default=0, description="of the order, drawn anew for each epoch and each seed; null keeps the file's order"
    )
    lr_schedule: Literal["constant", "linear", "cosine"] = Field(
        default="constant", description="how the learning rate falls to 0, as transformers' schedules do"
    )
    warmup: Int = Field(default=0, ge=0, description="steps in which the learning rate rises from 0")

    @property
    def key(self) -> dict[str, Any]:
        """What of it can change a number."""
        return changed(self)

    @property
    def label(self) -> str:
        """A short name for people."""
        falls = "" if self.lr_schedule == "constant" else f", {self.lr_schedule}"
        return f"{self.epochs} epoch{'s' if self.epochs > 1 else ''} in batches of {self.batch_size}{falls}"

    def batches(self, n: int, seed: int) -> list[tuple[int, ...]]:
        """The positions of the samples that each step trains on.

        Args:
            n: Samples of the set.
            seed: The arm's: each seed has orders of its own.
        """
        found: list[tuple[int, ...]] = []
        for epoch in range(self.epochs):
            kept = self.shuffle_seed is None
            order = list(range(n)) if kept else shuffled(n, "epoch", self.shuffle_seed, seed, epoch)
            found += [tuple(order[start : start + self.batch_size]) for start in range(0, n, self.batch_size)]
        return found

    def steps(self, n: int) -> int:
        """How many steps it takes to go through a set of n samples."""
        return self.epochs * -(-n // self.batch_size)

    def rates(self, steps: int) -> list[float]:
        """The share of the learning rate that each step takes.

        Source: ``get_scheduler`` of transformers, whose first step of a warm-up takes 0.
        """
        return [self._rate(step, steps) for step in range(steps)]

    def _rate(self, step: int, steps: int) -> float:
        if step < self.warmup:
            return step / self.warmup
        gone = (step - self.warmup) / max(1, steps - self.warmup)
        if self.lr_schedule == "linear":
            return 1.0 - gone
        return 0.5 * (1.0 + math.cos(math.pi * gone)) if self.lr_schedule == "cosine" else 1.0


class SecondStage(Stage):
    """More steps, on other samples than those of the set, with an optimizer that begins anew."""

    samples: str = Field(
        description="a file like `samples`, whose rows are trained on after the set, and never left out"
    )

    @property
    def key(self) -> dict[str, Any]:
        """What of it can change a number, beside what its samples are."""
        return changed(self, but=("samples",))


class Schedule(Stage):
    """How a training set is gone through, and what is trained on after it."""

    then: SecondStage | None = Field(
        default=None, description="a second stage: more steps on other samples, which is part of every training"
    )

    @property
    def key(self) -> dict[str, Any]:
        """What of it can change a number."""
        own = changed(self, but=("then",))
        return own if self.then is None else {**own, "then": self.then.key}

    @property
    def label(self) -> str:
        """A short name for people."""
        own = super().label
        return own if self.then is None else f"{own}, then {self.then.label}"

    @property
    def draws(self) -> bool:
        """Whether a seed changes an order."""
        return self.shuffle_seed is not None or (self.then is not None and self.then.shuffle_seed is not None)

    def all_steps(self, n: int, later: int = 0) -> int:
        """How many steps it takes to go through a set of n samples, and so many of a second stage."""
        return self.steps(n) + (0 if self.then is None else self.then.steps(later))


class FlipLabels(Model):
    """Samples of a training set that get another class, drawn by content."""

    share: Float = Field(default=0.1, gt=0, lt=1, description="of the samples")
    seed: Seed = 0


class TrainingSet(Schedule):
    """The part's probes are trained on together, by this schedule. Its data may be named here as well as beside it."""

    held_out: str | None = Field(
        default=None, description="a file like `samples` whose rows are queries and never trained on"
    )
    by: Literal["sample", "domain"] = Field(
        default="sample", description="what is left out: one sample, or all samples of a domain together"
    )
    watch: Count | None = Field(
        default=None, description="score all queries after every so many steps of the training on the whole set"
    )
    saliency: Count | None = Field(
        default=None,
        description="of so many queries, those held out first, how much each word speaks for the target in the model "
        "that the whole set trains",
    )
    flip_labels: FlipLabels | None = Field(
        default=None, description="train on a share of the samples with a wrong class, to see what finds them"
    )


def shuffled(n: int, *key: object) -> list[int]:
    """The numbers 0 to n - 1 in an order that follows from a key alone, on every machine and version."""
    bits = np.random.Philox(key=int(content_hash(key), 16)).random_raw(n)  # numpy keeps raw streams as they are
    return np.argsort(bits, kind="stable").tolist()


@dataclass(frozen=True)
class Members:
    """The samples of a training set.

    Args:
        sample_ids: In order.
        probes: The positions of each probe's samples, by probe_id: what is left out together.
        later: The samples of a second stage, in order: they are in every training, and none of the set's.
    """

    sample_ids: tuple[str, ...]
    probes: Mapping[str, tuple[int, ...]]
    later: tuple[str, ...] = ()

    @classmethod
    def of(cls, probes: Mapping[str, Sequence[str]], later: Sequence[str] = ()) -> Members:
        """Those of the probes, by their sample_ids, in the order in which they come first, and a second stage's."""
        position: dict[str, int] = {}
        for members in probes.values():
            for member in members:
                position.setdefault(member, len(position))
        places = {name: tuple(sorted({position[member] for member in members})) for name, members in probes.items()}
        return cls(tuple(position), places, tuple(later))

    @cached_property
    def units(self) -> tuple[tuple[int, ...], ...]:
        """What is drawn when subsets are: single samples, and groups of samples of which one is no probe by itself."""
        alone = {places[0] for places in self.probes.values() if len(places) == 1}
        groups = (places for places in self.probes.values() if len(places) == 1 or not alone.issuperset(places))
        return tuple(dict.fromkeys(groups))

    def set_id(self, schedule: Schedule) -> str:
        """Content hash of the samples in order and of how they are gone through, second stage included."""
        later = (self.later,) if self.later else ()
        return content_hash(("training set", self.sample_ids, schedule.key, *later))


class More(NamedTuple):
    """A step behind those of a schedule, on samples of the set.

    Args:
        batch: Their positions, each once.
        weights: What each of their losses is multiplied by, below 0 to unlearn it. The sum of those above 0 is divided
            by the target tokens of their samples and that of those below 0 by the tokens of theirs, so that each side
            is a mean: 1 and -1 are L_rest - L_forget, whatever the two sizes.
        rate: Share of the recipe's learning rate.
    """

    batch: tuple[int, ...]
    weights: tuple[float, ...]
    rate: float = 1.0


@dataclass(frozen=True)
class Variant:
    """A training of a set that weighs some of its samples otherwise, stops before its end, or goes on after it.

    Args:
        kind: ``full``, ``without``, ``subset`` or ``watched``; or what an action does: ``removed``, ``reweighted`` or
            ``unlearned``.
        about: The probe that is left out, the number of the subset, or that of the steps of a watched one; empty for
            the others.
        left_out: Positions of the samples of weight 0, ascending.
        steps: After how many of the schedule's steps it stops; None goes to the end.
        weights: (position, weight) of the samples that weigh neither 0 nor 1, ascending.
        more: Steps behind the schedule's, which begin with an optimizer that remembers nothing.
        computed: The state whose parameters it has, where they were computed and not trained; empty for all others.
    """

    kind: Literal["full", "without", "subset", "watched", "removed", "reweighted", "unlearned"]
    about: str = ""
    left_out: tuple[int, ...] = ()
    steps: int | None = None
    weights: tuple[tuple[int, float], ...] = ()
    more: tuple[More, ...] = ()
    computed: str = ""

    @property
    def weighs(self) -> dict[int, float]:
        """The weight of each sample that does not weigh 1, by position."""
        return dict(sorted({**dict.fromkeys(self.left_out, 0.0), **dict(self.weights)}.items()))

    def training_id(self, set_id: str) -> str:
        """Content hash of the set and of what is done with it: however it came about, it is the same training."""
        stops = () if self.steps is None else (self.steps,)
        weighs = (("weights", self.weights),) if self.weights else ()
        goes_on = (("more", self.more),) if self.more else ()
        computed = (("computed", self.computed),) if self.computed else ()
        return content_hash(("training", set_id, self.left_out, *stops, *weighs, *goes_on, *computed))


FULL = Variant("full")


def without(members: Members, probe_id: str) -> Variant:
    """The training without a probe's samples."""
    return Variant("without", probe_id, members.probes[probe_id])


def subset(members: Members, number: int, share: float, seed: int) -> Variant:
    """The training on a drawn share of the units; at least one is in it, and one left out where there are two.

    Args:
        members: The set.
        number: Which draw: more draws only add to fewer.
        share: Of the units.
        seed: The arm's.
    """
    n = len(members.units)
    kept = min(max(round(share * n), 1), max(n - 1, 1))
    gone = shuffled(n, "subset", seed, number)[kept:]
    return Variant("subset", str(number), tuple(sorted({place for unit in gone for place in members.units[unit]})))


def watched(every: int, steps: int) -> list[Variant]:
    """The full training of so many steps, after every few of them; its end is :data:`FULL`."""
    return [Variant("watched", str(step), steps=step) for step in range(every, steps, every)]
