"""Trains many copies side by side: what the engines that stack trained parameters have in common."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from einfluence.engine.items import Item
from einfluence.engine.outcomes import Told, give, per_probe_norms, shrink
from einfluence.engine.schedule import Loss, Training, loss_of
from einfluence.engine.serial import make_optimizer
from einfluence.spec import Recipe

Gradients = Callable[[Sequence[Loss], bool], tuple[Tensor, Sequence[Tensor | None]]]
"""``gradients(losses, new)``: of N losses their values (N,), and the gradient of each stacked parameter (N, *shape), or
None for one that no loss depends on. ``new`` says whether the losses are others than a step before."""


def descend(
    recipe: Recipe, trainings: Sequence[Training[Item]], values: Sequence[Tensor], gradients: Gradients
) -> Told:
    """Takes all steps of N trainings; what one does never reaches another.

    Args:
        recipe: Optimizer and clipping.
        trainings: N of one rhythm.
        values: The trained parameters (N, *shape), leaves that are changed in place.
        gradients: Of the losses of a step.
    """
    begin, n = time.perf_counter(), len(trainings)
    losses: list[Tensor] = []
    first_norm = torch.full((n,), math.nan, device=values[0].device)
    for stages in zip(*(training.stages for training in trainings), strict=True):
        optimizer = make_optimizer(recipe, values, fused=True)
        last, wanted = None, list[Loss]()
        for steps in zip(*stages, strict=True):
            new, last = steps != last, steps
            if new:
                wanted = [loss_of(training, step) for training, step in zip(trainings, steps, strict=True)]
            loss, found = gradients(wanted, new)
            learns = [(value, gradient) for value, gradient in zip(values, found, strict=True) if gradient is not None]
            norm = per_probe_norms([gradient for _, gradient in learns])
            first_norm = first_norm if losses else norm
            losses.append(loss.detach())
            optimizer.zero_grad()
            give([value for value, _ in learns], shrink([gradient for _, gradient in learns], norm, recipe.clip))
            optimizer.step()
    return Told.of(losses, first_norm, n, (time.perf_counter() - begin) / n)
