"""A base that another part of the spec trains: which part, and which of the trainings of its whole set."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from einfluence.arms import Arm, OfASet
from einfluence.recipe import Int, Model, Seed, Tuning


class TrainedBase(Model):
    """What an earlier part's base is once it is trained on that part's whole training set."""

    training: str = Field(description="name of an earlier part that has a `training_set`")
    arm: Int | None = Field(
        default=None, ge=0, description="which way of training, counted from 0, where that part's arms have several"
    )
    seed: Seed | None = Field(default=None, description="null takes that part's first")

    def tuning(self, arms: Sequence[Arm]) -> Tuning:
        """How the other part trains.

        Args:
            arms: That part's.

        Raises:
            ValueError: When they train in several ways and this does not say which, or there are not so many.
        """
        ways = list({each.recipe_id: each.recipe for each in map(OfASet.of, _within(arms))}.values())
        if self.arm is None and len(ways) > 1:
            named = "; ".join(f"{index}: {way.label}" for index, way in enumerate(ways))
            raise ValueError(f"`arm` beside `training`: `{self.training}` trains in {len(ways)} ways ({named})")
        if (self.arm or 0) >= len(ways):
            raise ValueError(f"an `arm` below {len(ways)}: `{self.training}` trains in no more ways")
        return ways[self.arm or 0]

    def seed_of(self, seeds: Sequence[int], draws: bool) -> int:
        """The seed of the training.

        Args:
            seeds: The other part's.
            draws: Whether one changes anything; else it is 0.
        """
        if not draws:
            return 0
        return seeds[0] if self.seed is None else self.seed


def _within(arms: Sequence[Arm]) -> list[Arm]:
    return [arm for arm in arms if arm.made_by.within]
