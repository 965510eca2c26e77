"""A batch of probes for training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from einfluence.engine.measurement import TextItem
from einfluence.engine.schedule import Loss


@dataclass(frozen=True, eq=False)
class TrainingBatch:
    """The texts of one step of N trainings, each with equally many rows, padded on the right.

    Args:
        ids: The samples of a bundle end to end, L tokens in all.
        positions: Position ids.
        answers: Flat positions whose logits are in the loss, all different; ``targets`` their tokens, ``weights`` their
            share of the loss, 0 where a training has fewer than R.
        rows: Samples of a bundle.
    """

    ids: Int[Tensor, "N L"]
    positions: Int[Tensor, "1 L"]
    answers: Int[Tensor, "N R"]
    targets: Int[Tensor, "N R"]
    weights: Float[Tensor, "N R"]
    rows: int

    @property
    def width(self) -> int:
        """T."""
        return self.ids.shape[1] // self.rows

    @cached_property
    def same(self) -> bool:
        """Whether several trainings read the same texts."""
        return len(self.ids) > 1 and bool((self.ids == self.ids[:1]).all())

    def loss(self, logits: Float[Tensor, "reads vocabulary"]) -> Float[Tensor, " N"]:
        """The loss of each training, from the logits at ``answers``."""
        logits = logits if logits.dtype == torch.float64 else logits.float()
        nats = torch.nn.functional.cross_entropy(logits, self.targets.reshape(-1), reduction="none")
        return (nats.view(self.weights.shape) * self.weights.to(nats)).sum(1)

    @classmethod
    def of(cls, losses: Sequence[Loss], device: torch.device) -> TrainingBatch:
        """Lays N losses side by side; one with fewer answers than R gets further, different positions of weight 0."""
        texts = [cast("tuple[TextItem, ...]", loss.items) for loss in losses]
        rows = max(len(items) for items in texts)
        width = max(len(item.ids) for items in texts for item in items) - 1
        most = max(sum(item.n_target for item in items) for items in texts)
        ids = np.zeros((len(texts), rows, width), dtype=np.int64)
        answers = np.zeros((len(texts), most), dtype=np.int64)
        targets = np.zeros((len(texts), most), dtype=np.int64)
        shares = np.zeros((len(texts), most), dtype=np.float64)
        for n, (items, loss) in enumerate(zip(texts, losses, strict=True)):
            at: list[int] = []
            wanted: list[int] = []
            for row, (item, weight) in enumerate(zip(items, loss.weights, strict=True)):
                ids[n, row, : len(item.ids) - 1] = item.ids[:-1]
                start = len(item.ids) - item.n_target
                shares[n, len(at) : len(at) + item.n_target] = weight / loss.divisor
                at += range(row * width + start - 1, row * width + len(item.ids) - 1)
                wanted += item.ids[start:]
            taken = set(at)
            spare = (position for position in range(rows * width) if position not in taken)
            targets[n, : len(at)] = wanted
            answers[n] = at + [next(spare) for _ in range(most - len(at))]
        positions = np.tile(np.arange(width), rows)[None]
        parts = (ids.reshape(len(texts), rows * width), positions, answers, targets, shares)
        a, b, c, d, e = (torch.from_numpy(part).to(device) for part in parts)
        return cls(a, b, c, d, e, rows)
