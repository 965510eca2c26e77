"""A batch of probes for training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from einfluence.engine.items import TextItem

Probe = Sequence[TextItem]


@dataclass(frozen=True, eq=False)
class Batch:
    """N probes of equally many rows, filled up on the right.

    Args:
        ids: (N, rows * T), the samples of a bundle end to end.
        positions: (1, rows * T).
        answers: (N, R) flat positions whose logits are in the loss, all different; ``targets`` (N, R) their tokens,
            ``weights`` (N, R) their share, 0 where a probe has fewer than R.
    """

    ids: Tensor
    positions: Tensor
    answers: Tensor
    targets: Tensor
    weights: Tensor
    rows: int

    @property
    def width(self) -> int:
        """T."""
        return self.ids.shape[1] // self.rows

    def loss(self, logits: Tensor) -> Tensor:
        """(N,) mean nats over each probe's target tokens, from logits (N * R, vocabulary) at ``answers``."""
        logits = logits if logits.dtype == torch.float64 else logits.float()
        nats = torch.nn.functional.cross_entropy(logits, self.targets.reshape(-1), reduction="none")
        return (nats.view(self.weights.shape) * self.weights.to(nats)).sum(1)

    @classmethod
    def of(cls, probes: Sequence[Probe], device: torch.device) -> Batch:
        """Lays N probes side by side; one with fewer answers than R gets further, different positions of weight 0."""
        rows = max(len(probe) for probe in probes)
        width = max(len(item.ids) for probe in probes for item in probe) - 1
        most = max(sum(item.n_target for item in probe) for probe in probes)
        ids = np.zeros((len(probes), rows, width), dtype=np.int64)
        answers = np.zeros((len(probes), most), dtype=np.int64)
        targets = np.zeros((len(probes), most), dtype=np.int64)
        weights = np.zeros((len(probes), most), dtype=np.float64)
        for n, probe in enumerate(probes):
            at: list[int] = []
            wanted: list[int] = []
            for row, item in enumerate(probe):
                ids[n, row, : len(item.ids) - 1] = item.ids[:-1]
                start = len(item.ids) - item.n_target
                at += range(row * width + start - 1, row * width + len(item.ids) - 1)
                wanted += item.ids[start:]
            spare = (position for position in range(rows * width) if position not in set(at))
            weights[n, : len(at)] = 1 / len(at)
            targets[n, : len(at)] = wanted
            answers[n] = at + [next(spare) for _ in range(most - len(at))]
        positions = np.tile(np.arange(width), rows)[None]
        parts = (ids.reshape(len(probes), rows * width), positions, answers, targets, weights)
        a, b, c, d, e = (torch.from_numpy(part).to(device) for part in parts)
        return cls(a, b, c, d, e, rows)
