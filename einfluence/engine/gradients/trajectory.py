"""The way of a training, one step after the other: what estimates look at that follow it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from einfluence.engine.definition import make_optimizer, set_rate
from einfluence.engine.gradients.definition import Point, batch_logprobs
from einfluence.engine.measurement import Item
from einfluence.engine.schedule import Loss, Step, Training, loss_of
from einfluence.recipe import Recipe, Sgd


@dataclass(frozen=True)
class Moment:
    """A training right before it takes a step.

    Args:
        step: The step.
        point: The parameters that it is taken at; the next moment has the same copy, further on.
        carried: How many times the full learning rate this step's gradient is moved along, by this step and, where
            the optimizer has momentum, by later ones of the stage.
        kept: Share of the gradient that clipping leaves.
        scales: What the optimizer multiplies each element of the gradient by, by the name of a parameter; None for 1.
    """

    step: Step
    point: Point
    carried: float
    kept: float
    scales: dict[str, Tensor] | None


def moments(point: Point, recipe: Recipe, training: Training[Item]) -> Iterator[Moment]:
    """Takes a copy through a training and stops before each step that something has a weight in.

    When the iterator ends, the copy is trained: as by :func:`einfluence.engine.definition.train`, to rounding.

    Args:
        point: Where it begins; it is changed.
        recipe: Optimizer and clipping.
        training: The training.

    Raises:
        ArithmeticError: When a loss is not finite.
    """
    parameters = [value for value in point.trained.values()]
    number = 0
    for stage in training.stages:
        optimizer = make_optimizer(recipe, parameters)
        carried = carry(recipe, [step.rate for step in stage])
        for place, step in enumerate(stage):
            number += 1
            loss = batch_loss(point, loss_of(training, step))
            if not math.isfinite(loss.item()):
                raise ArithmeticError(f"loss is {loss.item()} at step {number}")
            optimizer.zero_grad()
            loss.backward()  # pyright: ignore[reportUnknownMemberType]
            norm = torch.nn.utils.clip_grad_norm_(parameters, recipe.clip or math.inf).item()
            kept = min(1.0, (recipe.clip or math.inf) / (norm + 1e-6))  # as torch has it
            yield Moment(step, point, carried[place], kept, _scales(point, recipe, optimizer))
            set_rate(recipe, optimizer, step.rate)
            optimizer.step()


def batch_loss(point: Point, loss: Loss) -> Tensor:
    """As :func:`einfluence.engine.definition.step_loss`, of all items side by side."""
    base, model = point.base, point.model
    parameter = next(model.parameters())
    if not loss.items:
        return sum(
            (value.sum() * 0.0 for value in point.trained.values()), start=torch.zeros((), device=parameter.device)
        )
    batch = base.objective.collate(loss.items).to(parameter.device, parameter.dtype)
    logprob = batch_logprobs(base.objective.logits(model, batch), batch.targets, batch.counts)
    weights = torch.tensor(loss.weights, dtype=logprob.dtype, device=logprob.device)
    return -(logprob * weights).sum() / loss.divisor


def carry(recipe: Recipe, rates: Sequence[float]) -> list[float]:
    """For each step of a stage, how many times the full learning rate its gradient is moved along, momentum included.

    The second moments of Adam are taken as if they stayed what they are at that step.
    """
    if isinstance(recipe.optimizer, Sgd):
        decay, share = recipe.optimizer.momentum, [1.0] * len(rates)
    else:
        decay = recipe.optimizer.betas[0]
        share = [(1 - decay) / (1 - decay ** (later + 1)) for later in range(len(rates))]
    found, following = list[float](), 0.0
    for rate, own in zip(reversed(rates), reversed(share), strict=True):
        following = rate * own + decay * following
        found.append(following)
    return found[::-1]


def _scales(point: Point, recipe: Recipe, optimizer: torch.optim.Optimizer) -> dict[str, Tensor] | None:
    """1 / (root of the second moment + eps), as Adam's next step has it."""
    if isinstance(recipe.optimizer, Sgd):
        return None
    beta, eps = recipe.optimizer.betas[1], recipe.optimizer.eps
    found: dict[str, Tensor] = {}
    for name, value in point.trained.items():
        gradient = torch.zeros_like(value) if value.grad is None else value.grad
        state = optimizer.state.get(value, {})
        before, steps = state.get("exp_avg_sq", torch.zeros_like(value)), float(state.get("step", 0.0)) + 1
        second = (beta * before + (1 - beta) * gradient**2) / (1 - beta**steps)
        found[name] = torch.where(second > 0, 1.0 / (second.sqrt() + eps), 0.0)
    return found
