"""Softmax regression: what oracles of estimators are computed with in NumPy, and estimators as a run has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from einfluence.arms import LeaveOneOut, estimators
from einfluence.engine.measurement import ImageItem
from einfluence.estimators.within import TrainedSet
from einfluence.models.base import Base, BaseInfo
from einfluence.objectives.image_class import ImageClass
from einfluence.predictors import Estimate
from einfluence.recipe import Tuning
from einfluence.samples import ProbeSamples, Sample
from einfluence.training_set import Schedule

Array = npt.NDArray[np.float64]
CLASSES = 3
SCHEDULE = Schedule(epochs=6, batch_size=10)
TUNING = Tuning.model_validate(
    {"adapter": "full", "optimizer": "sgd", "lr": 0.3, "weight_decay": 0.01, "dtype": "float64"}
)


@dataclass(frozen=True)
class _ByPlace(ImageClass):
    """Points that samples name by their places."""

    items: tuple[ImageItem, ...] = ()

    def encode(self, sample: Sample, where: str) -> ImageItem:
        return self.items[(sample.inputs or {})["place"]]


@dataclass(frozen=True)
class Problem:
    """Points of three classes, some with a flipped label, and queries.

    Args:
        x: (n, d), rounded to float32 as pictures are.
        y: (n,).
        queries: As x and y.
        flipped: Which labels were.
    """

    x: Array
    y: npt.NDArray[np.int64]
    queries: tuple[Array, npt.NDArray[np.int64]]
    flipped: npt.NDArray[np.int64]

    @property
    def samples(self) -> list[Sample]:
        """The points by their places, as :attr:`base` encodes them."""
        return [Sample(str(place), objective="image_class", inputs={"place": place}) for place in range(len(self.x))]

    @property
    def asked_samples(self) -> list[Sample]:
        """The queries likewise."""
        n, places = len(self.x), range(len(self.queries[1]))
        return [Sample(f"q{i}", objective="image_class", inputs={"place": n + i}) for i in places]

    @property
    def base(self) -> Base:
        """A linear classifier whose weights are 0."""
        width = self.x.shape[1]
        model = nn.Sequential(nn.Flatten(), nn.Linear(width, CLASSES))
        for parameter in model.parameters():
            nn.init.zeros_(parameter)
        objective = _ByPlace((1, 1, width), CLASSES, items=(*self.items, *self.asked))
        return Base(BaseInfo("softmax", "softmax", "image_class", ""), model.eval().requires_grad_(False), objective)

    @property
    def items(self) -> tuple[ImageItem, ...]:
        """The points as pictures."""
        return _pictures(self.x, self.y)

    @property
    def asked(self) -> tuple[ImageItem, ...]:
        """The queries as pictures."""
        return _pictures(*self.queries)


def _pictures(x: Array, y: npt.NDArray[np.int64]) -> tuple[ImageItem, ...]:
    return tuple(ImageItem(row[None, None].astype(np.float32), int(label)) for row, label in zip(x, y, strict=True))


def problem(seed: int, n: int = 60, width: int = 5, queries: int = 40, flips: float = 0.1) -> Problem:
    """Normal points whose class is that of the largest of three random linear functions."""
    draw = np.random.default_rng(seed)
    rule = draw.normal(size=(CLASSES, width))

    def points(count: int) -> tuple[Array, npt.NDArray[np.int64]]:
        x = draw.normal(size=(count, width)).astype(np.float32).astype(np.float64)
        return x, (x @ rule.T).argmax(1)

    (x, y), asked = points(n), points(queries)
    flipped = draw.choice(n, round(flips * n), replace=False)
    y[flipped] = (y[flipped] + draw.integers(1, CLASSES, len(flipped))) % CLASSES
    return Problem(x, y, asked, flipped)


def gradients(theta: Array, x: Array, y: npt.NDArray[np.int64]) -> Array:
    """(n, p) gradients of log p(y | x); theta is weights row by row, then biases."""
    logits = x @ theta[:-CLASSES].reshape(CLASSES, -1).T + theta[-CLASSES:]
    chance = np.exp(logits - logits.max(1, keepdims=True))
    chance /= chance.sum(1, keepdims=True)
    error = np.eye(CLASSES)[y] - chance
    return np.concatenate([(error[:, :, None] * x[:, None, :]).reshape(len(x), -1), error], 1)


def data_values(some: Problem, batches: Sequence[Sequence[int]], how: Mapping[str, Any]) -> Array:
    """(n, Q) by forward recursion with p x p matrices: how each sample's weight moves parameters and moments.

    Adam's denominators and what clipping multiplies with are held as they are on the way.
    """
    n, p = len(some.x), CLASSES * (some.x.shape[1] + 1)
    lr, decay, clip, adam = how["lr"], how["weight_decay"], how.get("clip"), how["optimizer"] != "sgd"
    one, two, eps = *how.get("betas", (0.9, 0.999)), how.get("eps", 1e-8)
    theta, moment, square = np.zeros(p), np.zeros(p), np.zeros(p)
    d_theta, d_moment = np.zeros((n, p)), np.zeros((n, p))
    for step, batch in enumerate(batches, 1):
        rows, size = gradients(theta, some.x[list(batch)], some.y[list(batch)]), len(batch)
        g, fisher = -rows.mean(0), rows.T @ rows / size
        d_g = d_theta @ fisher
        d_g[list(batch)] -= rows / size
        if clip:
            factor = min(1.0, clip / (np.linalg.norm(g) + 1e-6))
            g, d_g = g * factor, d_g * factor
        if how["optimizer"] == "adamw":
            theta, d_theta = theta * (1 - lr * decay), d_theta * (1 - lr * decay)
        else:
            g, d_g = g + decay * theta, d_g + decay * d_theta
        if adam:
            moment, d_moment = one * moment + (1 - one) * g, one * d_moment + (1 - one) * d_g
            square = two * square + (1 - two) * g * g
            scale = lr / (1 - one**step) / (np.sqrt(square / (1 - two**step)) + eps)
        else:
            moment, d_moment = how.get("momentum", 0) * moment + g, how.get("momentum", 0) * d_moment + d_g
            scale = lr
        theta, d_theta = theta - scale * moment, d_theta - scale * d_moment
    return d_theta @ gradients(theta, *some.queries).T


def in_two_stages(some: Problem, first: int, **then: object) -> TrainedSet:
    """So many points as a set, and the others as a second stage."""
    schedule = Schedule.model_validate({**dict(SCHEDULE), "then": {"samples": "others", **then}})
    return TrainedSet(some.samples[:first], schedule, tuple((place,) for place in range(first)), some.samples[first:])


def estimated(
    some: Problem,
    name: str,
    seed: int,
    within: TrainedSet | None = None,
    tuning: Tuning = TUNING,
    **recipe: object,
) -> Array:
    """What a registered estimator says of leaving each point of a set out, by default of all, (n, Q)."""
    kind = estimators()[name]
    arm = kind.arm.model_validate({"stands_for": LeaveOneOut(recipe=tuning), "recipe": {"dtype": "float64", **recipe}})
    assert isinstance(arm, Estimate)
    module = kind.implementation
    if within is None:
        within = TrainedSet(some.samples, SCHEDULE, tuple((place,) for place in range(len(some.x))))
    samples = within.samples
    state = module.fit(some.base, arm, seed, samples, within=within) if kind.fits else None
    probes = [ProbeSamples((sample,)) for sample in samples]
    given = {"kept": lambda _: None, "state": state, "within": within}
    found = module.block(some.base, arm, seed, probes, some.asked_samples, **given)
    return np.stack([row.influence for row in found.rows])
