"""The definition of a sample's gradient: one sample at a time, nothing clever."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from einfluence.engine.definition import target_logprobs, trainable_copy
from einfluence.engine.measurement import Item
from einfluence.models.base import Base
from einfluence.recipe import Recipe


@dataclass(frozen=True)
class Point:
    """A copy of a base at some parameters.

    Args:
        base: What it is a copy of.
        model: The copy.
        trained: Those of its parameters whose gradients count, by name.
    """

    base: Base
    model: torch.nn.Module
    trained: Mapping[str, torch.Tensor]

    @property
    def numbers(self) -> int:
        """How many numbers gradients are taken of."""
        return sum(value.numel() for value in self.trained.values())

    @classmethod
    def start(cls, base: Base, recipe: Recipe, seed: int) -> Point:
        """The base as a recipe begins to train it.

        Raises:
            InputError: When the recipe trains no parameter of this model.
        """
        return cls(base, *trainable_copy(base, recipe, seed))


def batch_logprobs(logits: torch.Tensor, targets: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """(B,): log-probs of samples side by side, each summed over those of its targets (B, T) that count.

    Args:
        logits: (B, T, classes), as :meth:`einfluence.models.base.Objective.logits` gives them.
        targets: (B, T).
        counts: (B, T), whether a target is one.
    """
    each = logits.log_softmax(-1).gather(-1, targets[..., None])[..., 0]
    return torch.where(counts, each, 0.0).sum(1)


def logprob_gradient(point: Point, item: Item) -> dict[str, torch.Tensor]:
    """The gradient of a sample's log-prob, summed over its targets; 0 for a parameter that it does not depend on."""
    total = target_logprobs(point.base.objective, point.model, item).sum()
    parameters = list(point.trained.values())
    found = torch.autograd.grad(total, parameters, allow_unused=True, materialize_grads=True)
    return dict(zip(point.trained, found, strict=True))
