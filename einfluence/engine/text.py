"""Measures text probes many at once: their adapters are trained in one batch, then meet all queries in blocks."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from einfluence.engine.attention import Seats
from einfluence.engine.exam import Exam
from einfluence.engine.items import Scores, TextItem, Tuned
from einfluence.engine.lora import Lora
from einfluence.engine.network import Network, first_changed, shared_copy
from einfluence.engine.outcomes import Told, give, outcomes, per_probe_norms, shrink
from einfluence.engine.serial import make_optimizer
from einfluence.models.base import Base
from einfluence.spec import Recipe

Probe = Sequence[TextItem]


@dataclass(frozen=True)
class Sizes:
    """How much goes through the network at once. They depend on shapes alone, so that a shard repeats bit for bit.

    Args:
        train: Positions in a training batch.
        score: Positions in an evaluation batch.
        window: Probes whose trained parameters are held at once.
    """

    train: int = 2048
    score: int = 1024
    window: int = 64


class TextEngine:
    """Batched LoRA for a causal LM.

    Args:
        base: The model; it is neither changed nor copied where the recipe keeps its dtype.
        recipe: With LoRA.
        seed: Of the adapters' start values.
        sizes: Batch sizes.
        share: Whether queries that begin alike share that beginning.
    """

    def __init__(self, base: Base, recipe: Recipe, seed: int, sizes: Sizes | None = None, share: bool = True) -> None:
        self.recipe = recipe
        self.sizes = sizes or Sizes()
        self.lora = Lora(base, recipe, seed)
        model = shared_copy(base.model, getattr(torch, recipe.dtype))
        self.lora.patch(model)
        names = {layer.name + ".weight" for layer in self.lora.layers}
        self.norms = {
            name: p.norm().item() for name, p in model.named_parameters(remove_duplicate=False) if name in names
        }
        self.network = Network(model, first_changed(model, names))
        self.device = self.network.device
        self.share = share

    def measure(
        self, probes: Sequence[Probe], queries: Sequence[TextItem], kept: Mapping[int, dict[str, Tensor]]
    ) -> tuple[Scores, Iterator[tuple[int, Tuned, Scores | None]]]:
        """As :func:`einfluence.engine.measure`."""
        exam = Exam(self.network, queries, self.sizes.score, self.share)
        most = min(len(probes), self.sizes.window) or 1
        before = exam.take_before(most, lambda count: self.lora.put(self.lora.fresh(count)))
        return before, self._each(exam, probes, kept)

    def _each(
        self, exam: Exam, probes: Sequence[Probe], kept: Mapping[int, dict[str, Tensor]]
    ) -> Iterator[tuple[int, Tuned, Scores | None]]:
        for start in range(0, len(probes), self.sizes.window):
            window = range(start, min(start + self.sizes.window, len(probes)))
            tuned: dict[int, Tuned] = {i: Tuned(kept[i], [], math.nan, math.nan) for i in window if i in kept}
            for batch in self._batches([i for i in window if i not in kept], probes):
                tuned |= dict(zip(batch, self.train([probes[i] for i in batch]), strict=True))
            good = [i for i in window if tuned[i].failed is None]
            after = dict(zip(good, self._score(exam, [tuned[i].delta for i in good]), strict=True))
            for i in window:
                yield i, tuned[i], after.get(i)

    def _score(self, exam: Exam, deltas: list[dict[str, Tensor]]) -> list[Scores]:
        if not deltas:
            return []
        filled = deltas + deltas[:1] * (exam.most - len(deltas))
        values = self.lora.stack(list(filled))
        scores = exam.take(len(filled), lambda begin, end: self.lora.put([value[begin:end] for value in values]))
        return scores[: len(deltas)]

    def _batches(self, indices: list[int], probes: Sequence[Probe]) -> Iterator[list[int]]:
        """Probes of like shape together, none above the budget."""

        def shape(i: int) -> tuple[int, int]:
            return len(probes[i]), max(len(item.ids) for item in probes[i])

        batch: list[int] = []
        for i in sorted(indices, key=shape):
            rows, width = shape(i)
            if batch and ((len(batch) + 1) * rows * width > self.sizes.train or rows != shape(batch[0])[0]):
                yield batch
                batch = []
            batch.append(i)
        if batch:
            yield batch

    def train_all(self, probes: Sequence[Probe]) -> list[Tuned]:
        """Trains on N probes, in batches."""
        tuned: dict[int, Tuned] = {}
        for batch in self._batches(list(range(len(probes))), probes):
            tuned |= dict(zip(batch, self.train([probes[i] for i in batch]), strict=True))
        return [tuned[i] for i in range(len(probes))]

    def train(self, probes: Sequence[Probe]) -> list[Tuned]:
        """Trains N probes at once; what one probe does never reaches another."""
        begin = time.perf_counter()
        recipe, device, n = self.recipe, self.device, len(probes)
        batch = _Batch.of(probes, device)
        values = [value.requires_grad_(True) for value in self.lora.fresh(n)]
        optimizer = make_optimizer(recipe, values, fused=True)
        seats = Seats(rows=batch.rows, width=batch.ids.shape[1] // batch.rows)
        self.lora.put(values)
        if self.network.start and recipe.steps:
            self.network.now.resume = self.network.below(batch.ids, batch.positions, seats)
        losses: list[Tensor] = []
        first_norm = torch.full((n,), math.nan, device=device)
        for step in range(recipe.steps):
            logits = self.network.logits(batch.ids, batch.positions, seats, batch.answers)
            logits = logits if logits.dtype == torch.float64 else logits.float()
            nats = torch.nn.functional.cross_entropy(logits, batch.targets.reshape(-1), reduction="none").view(n, -1)
            loss = (nats * batch.weights.to(nats)).sum(1)
            gradients = torch.autograd.grad(loss.sum(), values)
            losses.append(loss.detach())
            norm = per_probe_norms(gradients)
            first_norm = norm if step == 0 else first_norm
            give(values, shrink(gradients, norm, recipe.clip))
            optimizer.step()
        self.lora.put(None)
        self.network.now.resume = None
        values = [value.detach() for value in values]
        told = Told.of(losses, first_norm, n, (time.perf_counter() - begin) / n)
        pick = partial(self.lora.pick, values)
        return outcomes(told, recipe, self.lora.update_norms(values), self.norms, pick)


@dataclass(frozen=True, eq=False)
class _Batch:
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

    @classmethod
    def of(cls, probes: Sequence[Probe], device: torch.device) -> _Batch:
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
