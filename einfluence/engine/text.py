"""Measures text probes many at once: their adapters are trained in one batch, then meet all queries in blocks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from einfluence.engine.attention import Pass
from einfluence.engine.items import Scores, TextItem, Tuned
from einfluence.engine.lora import Lora
from einfluence.engine.network import Network, shared_copy
from einfluence.engine.outcomes import Told, give, outcomes, per_probe_norms, shrink
from einfluence.engine.queries import Block, Ints, layout
from einfluence.engine.serial import make_optimizer
from einfluence.models.base import Base
from einfluence.spec import Recipe

Probe = Sequence[TextItem]
PutCount = Callable[[int], None]
PutRange = Callable[[int, int], None]


@dataclass(frozen=True)
class Sizes:
    """How much goes through the network at once. They depend on shapes alone, so that a shard repeats bit for bit.

    Args:
        train: Positions in a training batch.
        score: Positions in an evaluation batch.
        window: Probes whose trained parameters are held at once.
    """

    train: int = 2048
    score: int = 2048
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
        self.network = Network(model)
        self.device = self.network.device
        self.share = share and self.network.shares

    def measure(
        self, probes: Sequence[Probe], queries: Sequence[TextItem], kept: Mapping[int, dict[str, Tensor]]
    ) -> tuple[Scores, Iterator[tuple[int, Tuned, Scores | None]]]:
        """As :func:`einfluence.engine.measure`."""
        exam = Exam(self.network, queries, self.sizes.score, self.share)
        slots = min(len(probes), self.sizes.window) or 1
        before = exam.take_before(slots, lambda count: self.lora.put(self.lora.fresh(count)))
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
        values = self.lora.stack(list(deltas))
        return exam.take(len(deltas), lambda begin, end: self.lora.put([value[begin:end] for value in values]))

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

    def train(self, probes: Sequence[Probe]) -> list[Tuned]:
        """Trains N probes at once; what one probe does never reaches another."""
        begin = time.perf_counter()
        recipe, device, n = self.recipe, self.device, len(probes)
        ids, answers, targets, weights = (part.to(device) for part in _training_batch(probes))
        values = [value.requires_grad_(True) for value in self.lora.fresh(n)]
        optimizer = make_optimizer(recipe, values, fused=True)
        positions = torch.arange(ids.shape[1], device=device)[None]
        self.lora.put(values)
        self.network.answer(n, answers, ids.numel() // n)
        losses: list[Tensor] = []
        first_norm = torch.full((n,), math.nan, device=device)
        for step in range(recipe.steps):
            logits = self.network.logits(ids, positions, Pass())[0]
            logits = logits if logits.dtype == torch.float64 else logits.float()
            nats = torch.nn.functional.cross_entropy(logits, targets.reshape(-1), reduction="none").view(n, -1)
            loss = (nats * weights.to(nats)).sum(1)
            gradients = torch.autograd.grad(loss.sum(), values)
            losses.append(loss.detach())
            norm = per_probe_norms(gradients)
            first_norm = norm if step == 0 else first_norm
            give(values, shrink(gradients, norm, recipe.clip))
            optimizer.step()
        self.lora.put(None)
        values = [value.detach() for value in values]
        told = Told.of(losses, first_norm, n, (time.perf_counter() - begin) / n)
        pick = partial(self.lora.pick, values)
        return outcomes(told, recipe, self.lora.update_norms(values), self.norms, pick)


class Exam:
    """All queries, laid out in blocks, ready to be put to any number of probes.

    A block is put to ``slots`` probes at a time, always equally many. What the base says in each slot is read along
    the very same path, so a probe that changed nothing has influence exactly 0, and rounding common to both cancels.
    """

    def __init__(self, network: Network, queries: Sequence[TextItem], budget: int, share: bool) -> None:
        self.network, self.budget = network, budget
        self.n_tokens = np.array([item.n_target for item in queries], dtype=np.int64)
        self.blocks = [_OnDevice(block, network.device) for block in layout(queries, budget, share)]
        self.before: list[Tensor] = []
        self.slots: list[int] = []
        self.logprob = np.zeros(0)

    def take_before(self, most: int, put: PutCount) -> Scores:
        """Puts the queries to the base, in as many slots a block as probes will have.

        Args:
            most: How many probes there will be at most at a time.
            put: Called with a number of slots; puts so many probes in that change nothing.
        """
        rank = np.ones(len(self.n_tokens), dtype=np.int64)
        logprob = np.zeros(len(self.n_tokens))
        for block in self.blocks:
            slots = max(min(self.budget // block.tokens, most), 1)
            put(slots)
            said, ranks = self._put(block, slots)
            self.slots.append(slots)
            self.before.append(said)
            np.add.at(logprob, block.owner, said[0].cpu().numpy())
            np.maximum.at(rank, block.owner, ranks[0].cpu().numpy())
        self.logprob = logprob
        return Scores(logprob, self.n_tokens, rank)

    def take(self, count: int, put: PutRange) -> list[Scores]:
        """Puts the queries to ``count`` probes.

        Args:
            count: At most what :meth:`take_before` was told.
            put: Called with ``begin`` and ``end``; puts these probes in.
        """
        change = np.zeros((count, len(self.n_tokens)))
        rank = np.ones((count, len(self.n_tokens)), dtype=np.int64)
        for block, slots, before in zip(self.blocks, self.slots, self.before, strict=True):
            for begin in range(0, count, slots):
                end = min(begin + slots, count)
                first = end - slots  # the last batch is as large as the others: it goes back to probes already done
                put(first, end)
                said, ranks = self._put(block, slots)
                moved, ranks = (said - before).cpu().numpy(), ranks.cpu().numpy()
                for i in range(begin, end):
                    np.add.at(change[i], block.owner, moved[i - first])
                    np.maximum.at(rank[i], block.owner, ranks[i - first])
        return [Scores(self.logprob + change[i], self.n_tokens, rank[i]) for i in range(count)]

    @torch.inference_mode()
    def _put(self, block: _OnDevice, slots: int) -> tuple[Tensor, Tensor]:
        """Log-probabilities (slots, K) in float64 and ranks (slots, K) of what a block reads."""
        network, run = self.network, Pass(groups=block.groups, prefix_length=block.prefix_length)
        if block.prefix.shape[1]:
            network.answer(slots, None, 0)
            run.context = network.keys_and_values(_tile(block.prefix, slots), block.prefix_positions)
        network.answer(slots, block.answers.expand(slots, -1), block.ids.numel())
        logits = network.logits(_tile(block.ids, slots), _tile(block.positions, slots), run)[0]
        logits = logits if logits.dtype == torch.float64 else logits.float()
        total = logits.logsumexp(-1).view(slots, -1)
        logits = logits.view(slots, total.shape[1], -1)
        chosen = logits[:, block.reads, block.targets]
        rows = logits if block.each_once else logits[:, block.reads]
        rank = (rows > chosen[..., None]).sum(-1) + 1
        return (chosen - total[:, block.reads]).double(), rank


class _OnDevice:
    """A block's integers as tensors."""

    def __init__(self, block: Block, device: torch.device) -> None:
        def tensor(values: Ints) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(values)).to(device)

        positions = block.positions
        alike = bool((positions == positions[:1]).all())
        self.tokens, self.owner = block.tokens, block.owner
        self.groups = max(len(block.prefix), 1)
        self.prefix, self.prefix_length = tensor(block.prefix), tensor(block.prefix_length)
        self.prefix_positions = torch.arange(block.prefix.shape[1], device=device)[None]
        self.ids, self.answers = tensor(block.ids), tensor(block.answers)[None]
        self.positions = tensor(positions[:1] if alike else positions)
        self.reads, self.targets = tensor(block.reads), tensor(block.targets)
        self.each_once = bool(len(block.reads) == len(block.answers) and (np.diff(block.reads) == 1).all())


def _tile(ids: Tensor, slots: int) -> Tensor:
    return ids if ids.shape[0] == 1 and ids.dim() == 2 and slots == 1 else ids.repeat(slots, 1)


def _training_batch(probes: Sequence[Probe]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Token ids (N * rows, T), answer positions (N, R), their targets (N, R) and weights (N, R) in the loss.

    A probe with fewer answers than R gets further, different positions of weight 0.
    """
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
        taken = set(at)
        spare = (position for position in range(rows * width) if position not in taken)
        weights[n, : len(at)] = 1 / len(at)
        targets[n, : len(at)] = wanted
        answers[n] = at + [next(spare) for _ in range(most - len(at))]
    parts = (ids.reshape(len(probes) * rows, width), answers, targets, weights)
    return tuple(torch.from_numpy(part) for part in parts)  # pyright: ignore[reportReturnType]
