"""Actions as a spec names them: what is done to a training set or a trained model, each checked by real trainings."""

from __future__ import annotations

from typing import Any, Literal, cast

from pydantic import Field, field_validator, model_validator

from einfluence.recipe import Count, Float, Model, Seed
from einfluence.unlearning import Unlearn

Order = Literal["lowest", "highest", "nearest zero"]


class Remove(Model):
    """Samples are chosen by their influence, and the set is trained on without them; beside it, without as many others.

    Influence is that on the queries held out. They are halved by content: samples are chosen on one half, and what
    their removal did is read off the other.
    """

    by: str = Field(
        description="name of an estimator of this part that is about its training set, or a file (*.sql) whose query "
        "over the store gives (sample_id, score)"
    )
    order: tuple[Order, ...] = Field(
        default=("lowest", "highest", "nearest zero"),
        min_length=1,
        description="which samples: lowest takes those that harm most; random is always beside them",
    )
    shares: tuple[Float, ...] = Field(
        default=(0.1,), min_length=1, description="of the set's samples or groups, each share a training of its own"
    )
    draws: Count = Field(default=3, description="of random samples, for each share")
    draw: Seed = Field(default=0, description="seed of those draws")
    decisions: Count | tuple[str, ...] | None = Field(
        default=None,
        description="single queries instead of all: names of held-out ones, or how many of the judging half are drawn "
        "by content; for each, what supports it most is left out in a training of its own, and `order` is highest by "
        "default",
    )

    @model_validator(mode="before")
    @classmethod
    def _supporting(cls, value: Any) -> Any:
        fields = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
        return {"order": ("highest",), **fields} if fields.get("decisions") is not None else value

    @field_validator("order", "shares", mode="before")
    @classmethod
    def _one(cls, value: object) -> object:
        return (value,) if isinstance(value, str | int | float) else value

    @field_validator("decisions", mode="before")
    @classmethod
    def _named(cls, value: object) -> object:
        if value in ("", [], ()):
            raise ValueError("a number, or names of queries")
        return (value,) if isinstance(value, str) else value

    @field_validator("shares")
    @classmethod
    def _a_share(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 < share < 1 for share in value):
            raise ValueError("shares above 0 and below 1")
        return value


class Ignore(Model):
    """Samples get weights by which held-out queries gain, and the set is trained on with them (Zhao et al. 2020).

    The queries held out are halved by content: weights are learned on one half, and judged by the other.
    """

    steps: Count = Field(default=10, description="of Adam on the weights; each costs about four trainings")
    lr: Float = Field(default=0.5, gt=0, description="its learning rate; a weight is sigmoid(w) over the mean of all")
    draws: Count = Field(default=3, description="how often the same weights are shuffled over the samples")
    draw: Seed = Field(default=0, description="seed of those draws")


class Action(Model):
    """One action: exactly one of the keys."""

    remove: Remove | None = None
    ignore: Ignore | None = None
    unlearn: Unlearn | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Action:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"exactly one of {', '.join(type(self).model_fields)} (here: {', '.join(given) or 'none'})"
            )
        return self

    @property
    def kind(self) -> str:
        """Which key it is."""
        return next(name for name in type(self).model_fields if getattr(self, name) is not None)
