"""What a batch of trained probes tells of each one."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from einfluence.engine.measurement import MeasuredRow, Measurement, Tuned
from einfluence.spec import Recipe


@dataclass(frozen=True)
class TrainingTrace:
    """Losses before each step, and the first gradient norm, of N probes; and each one's share of the time."""

    losses: list[list[float]]
    first_norm: list[float]
    seconds: float

    @classmethod
    def of(
        cls, losses: Sequence[Float[Tensor, " N"]], first_norm: Float[Tensor, " N"], probes: int, seconds: float
    ) -> TrainingTrace:
        """From the losses before each step."""
        table = torch.stack(list(losses), 1).cpu().double().tolist() if losses else [[] for _ in range(probes)]
        return cls(table, first_norm.cpu().double().tolist(), seconds)


def per_probe_norms(gradients: Sequence[Float[Tensor, "N ..."]]) -> Float[Tensor, " N"]:
    """Euclidean norms over all of a probe's gradients."""
    return torch.stack([gradient.flatten(1).norm(dim=1) for gradient in gradients]).norm(dim=0)


def clip_gradients(
    gradients: Sequence[Float[Tensor, "N ..."]], norms: Float[Tensor, " N"], clip: float | None
) -> Sequence[Float[Tensor, "N ..."]]:
    """Scales each probe's gradients to a norm of at most ``clip``, as torch's clip_grad_norm_ does."""
    if clip is None:
        return gradients
    factor = (clip / (norms + 1e-6)).clamp(max=1.0)
    return [gradient * factor.view(-1, *[1] * (gradient.dim() - 1)).to(gradient) for gradient in gradients]


def set_gradients(values: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
    """Sets ``grad``. The fused optimizers go through memory in order, whatever the strides say, so these must agree."""
    for value, gradient in zip(values, gradients, strict=True):
        same = gradient.stride() == value.stride()
        value.grad = gradient if same else torch.empty_like(value).copy_(gradient)


def merge(found: Sequence[Measurement]) -> Measurement:
    """What several engines measured, as if one had: in the order of the probes.

    Each engine reads the base along its own path, and influence is the difference on that path; so what a query says
    after training is taken against what the first engine scored before.
    """
    before = found[0].before

    def reported(own: Measurement) -> Iterator[MeasuredRow]:
        for row in own.rows:
            after = row.after
            moved = after and replace(after, logprob=before.logprob + (after.logprob - own.before.logprob))
            yield row._replace(after=moved)

    others = [reported(own) for own in found[1:]]
    return Measurement(before, heapq.merge(found[0].rows, *others, key=lambda row: row.probe))


def outcomes(
    reported: TrainingTrace,
    recipe: Recipe,
    updates: Mapping[str, Float[Tensor, " N"]],
    norms: Mapping[str, float],
    delta: Callable[[int], dict[str, Tensor]],
) -> list[Tuned]:
    """One :class:`Tuned` for each probe; a probe whose loss was not finite has failed, alone.

    Args:
        reported: Of the batch.
        recipe: How it was trained.
        updates: By parameter of the base, norms of its change.
        norms: By parameter of the base, its norm before.
        delta: Gives what changed of one probe.
    """
    changes = {name: norm.cpu().tolist() for name, norm in updates.items()}
    found: list[Tuned] = []
    for i, losses in enumerate(reported.losses):
        bad = next((step for step, loss in enumerate(losses) if not math.isfinite(loss)), None)
        if bad is not None:
            failed = f"loss is {losses[bad]} at step {bad + 1}"
            norm = reported.first_norm[i] if bad > 0 else math.nan
            found.append(Tuned({}, losses[: bad + 1], norm, math.nan, seconds=reported.seconds, failed=failed))
            continue
        layers = {name: (each[i], norms[name]) for name, each in changes.items()}
        update = math.sqrt(sum(change**2 for change, _ in layers.values()))
        failed = None if math.isfinite(update) else f"weights are not finite after {len(losses)} steps"
        found.append(Tuned(delta(i), losses, reported.first_norm[i], update, layers, reported.seconds, failed))
    return found
