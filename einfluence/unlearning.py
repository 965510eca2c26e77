"""Unlearning as a spec names it, and the steps of each method that trains on: they follow those of the whole set."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice
from typing import Annotated, Literal, TypeVar, cast

from pydantic import Field, field_validator, model_validator

from einfluence.recipe import Count, Float, Model, changed, named
from einfluence.training_set import More, shuffled

# Branches are frozen, so that each may narrow the kind that it inherits.
# pyright: reportIncompatibleVariableOverride=false

T = TypeVar("T")


class _Method(Model):
    """One method: ``kind`` says which."""

    kind: str

    @property
    def label(self) -> str:
        """A short name for people: no two methods of an action have the same one."""
        return ", ".join([self.kind, *named(self, changed(self))])


class _Stepping(_Method):
    """A method that is some more steps of the training."""

    rate: Float = Field(default=1.0, gt=0, description="share of the recipe's learning rate")


class _InBatches(_Stepping):
    """A method that goes through samples in batches."""

    epochs: Count = Field(default=1, description="how often it goes through its samples")
    batch_size: Count | None = Field(default=None, description="samples a step; null takes that of the `training_set`")


class GradientAscent(_InBatches):
    """Steps up the loss of the forget set."""

    kind: Literal["gradient_ascent"] = "gradient_ascent"


class FineTuneOnRest(_InBatches):
    """Steps down the loss of the rest, which overwrite what is not repeated."""

    kind: Literal["fine_tune"] = "fine_tune"


class NegGradPlus(_InBatches):
    """Steps down alpha L_rest - (1 - alpha) L_forget (Kurmanji et al. 2023); an epoch is one of the forget set."""

    kind: Literal["neg_grad_plus"] = "neg_grad_plus"
    alpha: Float = Field(default=0.5, gt=0, lt=1, description="weight of the mean loss of the rest's samples")


class InfluenceApproximation(_Stepping):
    """One step of the optimizer down L_rest - L_forget, over all samples (after Liu et al. 2025)."""

    kind: Literal["influence_approximation"] = "influence_approximation"


class InfluenceStep(_Method):
    """No step of the optimizer: the change that the inverse of the rest's curvature predicts (Koh & Liang 2017)."""

    kind: Literal["influence_step"] = "influence_step"
    scale: Float = Field(default=1.0, gt=0, description="what the change is multiplied by")
    damping: Float = Field(
        default=0.1, gt=0, description="added to the curvature, as a share of the mean square of gradients' elements"
    )
    curvature: Literal["gauss_newton", "hessian"] = Field(
        default="gauss_newton", description="of the rest's mean loss; second derivatives as they are may be negative"
    )


Stepping = GradientAscent | FineTuneOnRest | NegGradPlus | InfluenceApproximation
"""A method that is steps behind the training."""
Method = Stepping | InfluenceStep
AnyMethod = Annotated[Method, Field(discriminator="kind")]
"""The method that ``kind`` says."""


class Unlearn(Model):
    """The model trained on the whole set is trained on so that it comes near the one trained without some samples.

    What is measured is the distance to that retraining; that nothing of the samples is left in the model is not.
    """

    samples: str | None = Field(default=None, description="text file of ids of the forget set, one a line")
    most: Count | None = Field(default=None, description="so many samples that are most memorised are the forget set")
    least: Count | None = Field(default=None, description="so many that are least memorised")
    by: str | None = Field(
        default=None,
        description="name of an estimator of this part that is about its training set: its influence of a sample on "
        "itself says what is memorised",
    )
    method: tuple[AnyMethod, ...] = Field(min_length=1, description="how, each a training of its own")
    refine: bool = Field(
        default=False, description="unlearn the least memorised third first, then the middle, then the most"
    )

    @field_validator("method", mode="before")
    @classmethod
    def _short_forms(cls, value: object) -> object:
        """One method for a list of one, and its kind alone for a method."""
        some = cast("list[object]", value) if isinstance(value, list | tuple) else [value]
        return [{"kind": each} if isinstance(each, str) else each for each in some]

    @model_validator(mode="after")
    def _a_forget_set(self) -> Unlearn:
        given = [name for name in ("samples", "most", "least") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"exactly one of samples, most, least (here: {', '.join(given) or 'none'})")
        if self.by is None and (self.refine or self.samples is None):
            raise ValueError(f"`by`, which says what is memorised, beside `{'refine' if self.refine else given[0]}`")
        labels = [each.label for each in self.method]
        if len(set(labels)) < len(labels):
            raise ValueError("each method once in `method`")
        return self


def steps_of(
    method: Stepping, forget: Sequence[int], rest: Sequence[int], batch_size: int, *draw: object
) -> tuple[More, ...]:
    """The steps of a method.

    Args:
        method: It.
        forget: Positions of the forget set.
        rest: Those of all other samples of the set.
        batch_size: Of a method that names none.
        draw: What its orders follow from.
    """
    if isinstance(method, InfluenceApproximation):
        batch = tuple(sorted((*forget, *rest)))
        gone = set(forget)
        return (More(batch, tuple(-1.0 if place in gone else 1.0 for place in batch), method.rate),)
    size = method.batch_size or batch_size
    own = _batches(rest if isinstance(method, FineTuneOnRest) else forget, method.epochs, size, "own", *draw)
    if isinstance(method, FineTuneOnRest):
        return tuple(More(batch, (1.0,) * len(batch), method.rate) for batch in own)
    if isinstance(method, GradientAscent):
        return tuple(More(batch, (-1.0,) * len(batch), method.rate) for batch in own)
    beside = cycle(_ordered(rest, "beside", *draw))
    found: list[More] = []
    for batch in own:
        kept = tuple(islice(beside, min(len(batch), len(rest))))
        weights = (*(method.alpha for _ in kept), *(method.alpha - 1.0 for _ in batch))
        found.append(More((*kept, *batch), weights, method.rate))
    return tuple(found)


def rest_of(forget: Sequence[int], n: int) -> tuple[int, ...]:
    """The positions of a set of n samples that are not in a forget set."""
    gone = set(forget)
    return tuple(place for place in range(n) if place not in gone)


def thirds(ranked: Sequence[T]) -> list[Sequence[T]]:
    """Three parts of about one size, in order."""
    ends = [round(len(ranked) * part / 3) for part in range(4)]
    return [ranked[low:high] for low, high in zip(ends[:-1], ends[1:], strict=True)]


def _batches(places: Sequence[int], epochs: int, size: int, *draw: object) -> list[tuple[int, ...]]:
    """Batches of each epoch in an order of its own; the last of one may be smaller."""
    each = [_ordered(places, epoch, *draw) for epoch in range(epochs)]
    return [tuple(order[at : at + size]) for order in each for at in range(0, len(order), size)]


def _ordered(places: Sequence[int], *draw: object) -> list[int]:
    return [places[at] for at in shuffled(len(places), "unlearn", *draw)]
