"""The definition of a sample's gradient, and of the way of a training: one sample at a time, nothing clever."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch

from einfluence.engine.definition import (
    make_optimizer,
    set_rate,
    step_loss,
    target_logprobs,
    trainable_copy,
)
from einfluence.engine.measurement import Item
from einfluence.engine.schedule import Step, Training, loss_of
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

    @classmethod
    def start(cls, base: Base, recipe: Recipe, seed: int) -> Point:
        """The base as a recipe begins to train it.

        Raises:
            InputError: When the recipe trains no parameter of this model.
        """
        return cls(base, *trainable_copy(base, recipe, seed))


def logprob_gradient(point: Point, item: Item) -> dict[str, torch.Tensor]:
    """The gradient of a sample's log-prob, summed over its targets; 0 for a parameter that it does not depend on."""
    total = target_logprobs(point.base.objective, point.model, item).sum()
    parameters = list(point.trained.values())
    found = torch.autograd.grad(total, parameters, allow_unused=True, materialize_grads=True)
    return dict(zip(point.trained, found, strict=True))


@dataclass(frozen=True)
class Moment:
    """A training right before one of its steps.

    Args:
        step: The step.
        point: The parameters that it is taken at; the next moment has the same copy, further on.
        optimizer: As the steps before have left it.
    """

    step: Step
    point: Point
    optimizer: torch.optim.Optimizer


def moments(point: Point, recipe: Recipe, training: Training[Item]) -> Iterator[Moment]:
    """Takes a copy through a training, as :func:`einfluence.engine.definition.train` does, and stops before each step.

    Steps in which nothing has a weight are left out. When the iterator ends, the copy is trained.

    Args:
        point: Where it begins; it is changed.
        recipe: Optimizer and clipping.
        training: The training.

    Raises:
        ArithmeticError: When a loss is not finite.
    """
    parameters = list(point.trained.values())
    for stage in training.stages:
        optimizer = make_optimizer(recipe, parameters)
        for number, step in enumerate(stage):
            yield Moment(step, point, optimizer)
            loss = step_loss(point.base.objective, point.model, loss_of(training, step))
            if not math.isfinite(loss.item()):
                raise ArithmeticError(f"loss is {loss.item()} at step {number + 1} of the training on the set")
            optimizer.zero_grad()
            loss.backward()  # pyright: ignore[reportUnknownMemberType]
            torch.nn.utils.clip_grad_norm_(parameters, recipe.clip or math.inf)
            set_rate(recipe, optimizer, step.rate)
            optimizer.step()
