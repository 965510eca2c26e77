"""Trains many copies side by side: what the engines that stack trained parameters have in common."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from einfluence.engine.definition import make_optimizer, set_rate
from einfluence.engine.measurement import Item, MeasuredRow, Scores, Tuned
from einfluence.engine.outcomes import TrainingTrace, clip_gradients, per_probe_norms, set_gradients
from einfluence.engine.schedule import Loss, Training, loss_of
from einfluence.engine.sharing import Histories, Stack
from einfluence.spec import Recipe

Gradients = Callable[[Sequence[Loss], bool], tuple[Float[Tensor, " N"], Sequence[Float[Tensor, "N ..."] | None]]]
"""``gradients(losses, new)``: of N losses their values, and the gradient of each stacked parameter, or None for one
that no loss depends on. ``new`` says whether the losses are others than a step before."""


class Part(Protocol):
    """What some of the trainings read in one step."""

    @property
    def slots(self) -> list[int]:
        """Which of them."""
        ...


P = TypeVar("P", bound=Part)


def descend(
    recipe: Recipe,
    trainings: Sequence[Training[Item]],
    values: list[Float[Tensor, "N ..."]],
    gradients: Gradients,
) -> TrainingTrace:
    """Takes all steps of N trainings; what one does never reaches another.

    Trainings of one set are taken as one for as long as they are the same, so meanwhile there are fewer rows than N.

    Args:
        recipe: Optimizer and clipping.
        trainings: N of one rhythm.
        values: The stacked trained parameters, leaves; the list holds those after the training in the end.
        gradients: Of the losses of a step, with respect to what is in ``values``.
    """
    begin, n = time.perf_counter(), len(trainings)
    losses: list[Tensor] = []
    first_norm = torch.full((n,), math.nan, device=values[0].device)
    histories = Histories(trainings)
    stack = Stack(values, histories)
    for stages in zip(*(training.stages for training in trainings), strict=True):
        optimizer = make_optimizer(recipe, values, fused=True)
        last, wanted = None, list[Loss]()
        for steps in zip(*stages, strict=True):
            new, last = steps != last, steps
            if new:
                optimizer = stack.fork(recipe, optimizer, histories.step(steps))
                wanted = [loss_of(trainings[first], steps[first]) for first in histories.firsts]
            loss, found = gradients(wanted, new)
            learns = [(value, gradient) for value, gradient in zip(values, found, strict=True) if gradient is not None]
            norm = per_probe_norms([gradient for _, gradient in learns])
            first_norm = first_norm if losses else norm[histories.rows]
            losses.append(loss.detach()[histories.rows])
            set_rate(recipe, optimizer, steps[0].rate)
            optimizer.zero_grad()
            set_gradients(
                [value for value, _ in learns], clip_gradients([gradient for _, gradient in learns], norm, recipe.clip)
            )
            optimizer.step()
    stack.spread()
    return TrainingTrace.of(losses, first_norm, n, (time.perf_counter() - begin) / n)


def windows(count: int, size: int) -> Iterator[range]:
    """Trainings whose parameters are held at once, by their index."""
    for begin in range(0, count, size):
        yield range(begin, min(begin + size, count))


def measured_rows(
    count: int,
    size: int,
    kept: Mapping[int, dict[str, Tensor]],
    train: Callable[[list[int]], Mapping[int, Tuned]],
    score: Callable[[list[dict[str, Tensor]]], Sequence[Scores]],
) -> Iterator[MeasuredRow]:
    """A row for each of N trainings, trained and scored window by window.

    Args:
        count: N.
        size: Most trainings in a window.
        kept: Earlier deltas by index, which are used instead of training anew.
        train: Gives what training left behind, by index.
        score: Gives the scores after each of some deltas.
    """
    for window in windows(count, size):
        tuned = {i: Tuned(kept[i], [], math.nan, math.nan) for i in window if i in kept}
        tuned |= train([i for i in window if i not in kept])
        good = [i for i in window if tuned[i].failed is None]
        after = dict(zip(good, score([tuned[i].delta for i in good]), strict=True))
        for i in window:
            yield MeasuredRow(i, tuned[i], after.get(i))


def split(losses: Sequence[Loss], budget: int) -> list[list[int]]:
    """Which losses are read together: those of like many items, and no more of what items call size than the budget."""
    shapes = {
        i: (len(loss.items), max(item.size for item in loss.items)) for i, loss in enumerate(losses) if loss.items
    }
    parts: list[list[int]] = []
    for slot in sorted(shapes, key=lambda slot: shapes[slot]):
        rows, width = shapes[slot]
        part = parts[-1] if parts else []
        width = max([width, *(shapes[other][1] for other in part)])
        if not part or (len(part) + 1) * rows * width > budget or 3 * rows > 4 * shapes[part[0]][0]:
            parts.append([])
        parts[-1].append(slot)
    return [sorted(part) for part in parts]


def by_part(
    parts: Sequence[P],
    values: list[Float[Tensor, "N ..."]],
    gradients: Callable[[P, list[Tensor]], tuple[Tensor, Sequence[Tensor]]],
) -> tuple[Float[Tensor, " N"], Sequence[Float[Tensor, "N ..."]]]:
    """Losses and gradients of stacked parameters, summed over the parts; 0 for a slot that is in none."""
    n = len(values[0])
    if len(parts) == 1 and len(parts[0].slots) == n:
        return gradients(parts[0], values)
    total = [torch.zeros_like(value) for value in values]
    losses = values[0].new_zeros(n, dtype=torch.promote_types(values[0].dtype, torch.float32))
    for part in parts:
        slots = torch.tensor(part.slots, device=losses.device)
        own = [value.detach().index_select(0, slots).requires_grad_(True) for value in values]
        loss, found = gradients(part, own)
        losses.index_add_(0, slots, loss.detach().to(losses))
        for gradient, new in zip(total, found, strict=True):
            gradient.index_add_(0, slots, new)
    return losses, total
