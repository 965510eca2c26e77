"""What a part measures where it does not measure all: which share of the rest, and what the others are inferred by."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field, field_validator

from einfluence.arms import Arm, FineTune, estimators
from einfluence.predictors import Estimate
from einfluence.recipe import Float, Model

GROUPS = 20
"""Of queries, by the hash of their ids: ``store/sample_places.sql`` and ``store/placed_relations.sql`` make them."""

LEAST = 20
"""Cells of the rest that a probe must have measured: with fewer, what is inferred hangs on single ones."""


class Measure(Model):
    """Which cells of the arms that fine-tune are measured: all that is claimed, and a share of the rest."""

    rest: Float = Field(
        gt=0, le=1, description="share of the pairs without a claim, a multiple of 0.05; more only add to fewer"
    )
    control: str = Field(
        default="grad_dot", description="the estimate by which the cells that are not measured are inferred"
    )

    @field_validator("rest")
    @classmethod
    def _whole_groups(cls, value: float) -> float:
        if abs(value * GROUPS - round(value * GROUPS)) > 1e-9:
            raise ValueError(f"a multiple of {1 / GROUPS:g}: queries are drawn in {GROUPS} groups")
        return value

    @field_validator("control")
    @classmethod
    def _predicts(cls, value: str) -> str:
        able = [name for name, each in estimators().items() if "finetune" in each.predicts]
        if value not in able:
            raise ValueError(f"an estimate of `finetune`: {', '.join(able)} (not `{value}`)")
        return value

    @property
    def groups(self) -> int | None:
        """How many of the groups of queries each probe meets; None for all."""
        groups = round(self.rest * GROUPS)
        return groups if groups < GROUPS else None

    def control_of(self, arm: FineTune) -> Estimate:
        """The estimate of an arm."""
        made = estimators()[self.control].arm.model_validate({"estimator": self.control, "stands_for": arm})
        if not isinstance(made, Estimate):
            raise TypeError(f"{self.control} predicts, but its arm is no estimate")
        return made


def with_controls(arms: Iterable[Arm], measure: Measure | None) -> tuple[Arm, ...]:
    """Some arms, and the controls of those that fine-tune, where they are not among them."""
    arms = tuple(arms)
    if measure is None or measure.groups is None:
        return arms
    controls = [measure.control_of(arm) for arm in arms if isinstance(arm, FineTune)]
    there = {arm.recipe_id for arm in arms}
    return (*arms, *(arm for arm in controls if arm.recipe_id not in there))
