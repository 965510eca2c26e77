"""Measures text probes many at once: their adapters are trained in one batch, then meet all queries in blocks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from einfluence.engine.anatomy import shared_copy
from einfluence.engine.attention import Seats
from einfluence.engine.batch import Batch
from einfluence.engine.descent import by_part, descend, measured_rows, split, windows
from einfluence.engine.exam import Exam
from einfluence.engine.items import Item, Measurement, Scores, TextItem, Tuned
from einfluence.engine.lora import Lora
from einfluence.engine.memory import memory_budget
from einfluence.engine.network import Network, Now, first_changed
from einfluence.engine.outcomes import outcomes
from einfluence.engine.schedule import Loss, Training
from einfluence.models.base import Base
from einfluence.spec import Recipe


@dataclass(frozen=True)
class Sizes:
    """How much goes through the network at once. They depend on shapes alone, so that a shard repeats bit for bit.

    Args:
        train: Positions in a training batch.
        score: Positions in an evaluation batch.
        window: Probes whose trained parameters are held at once.
        alone: Positions in a block of queries from which on it meets one probe at a time.
    """

    train: int = 2048
    score: int = 1024
    window: int = 64
    alone: int = 1 << 40


def default_sizes(model: nn.Module, numbers: int, most: int) -> Sizes:
    """Batch sizes for a device.

    Args:
        model: What is trained, on its device. A GPU takes larger batches.
        numbers: What is trained and held for one probe.
        most: Probes held at once, where memory allows; on a GPU four times as many.
    """
    device = next(model.parameters()).device
    each = 24 * max(numbers, 1)  # in float32: weight, gradient, two moments, two copies
    budget = memory_budget(device)
    if device.type == "cpu":
        return Sizes(window=max(min(budget // 8 // each, most), 1))
    room = (budget - sum(p.numel() * p.element_size() for p in model.parameters())) // 2
    return Sizes(8192, 65536, max(min(room // each, 4 * most), 1))


class BatchedText(ABC):
    """What trains texts many at once and puts all queries to them.

    Args:
        network: Follows the parameters of the probes that are put in.
        recipe: How to train.
        sizes: Batch sizes.
        share: Whether queries that begin alike share that beginning.
    """

    def __init__(self, network: Network, recipe: Recipe, sizes: Sizes, share: bool) -> None:
        self.network, self.recipe, self.sizes, self.share = network, recipe, sizes, share
        self.device = network.device

    @abstractmethod
    def blank(self, probes: int) -> None:
        """Puts in N probes that are the base."""

    @abstractmethod
    def examine(self, exam: Exam, deltas: list[dict[str, Tensor]]) -> list[Scores]:
        """Puts the queries to as many probes as the exam expects, or more."""

    @abstractmethod
    def train(self, probes: Sequence[Training[Item]]) -> list[Tuned]:
        """Takes N trainings of one rhythm at once; what one does never reaches another."""

    def measure(
        self, probes: Sequence[Training[Item]], queries: Sequence[Item], kept: Mapping[int, dict[str, Tensor]]
    ) -> Measurement:
        """As :func:`einfluence.engine.measure`."""
        exam = Exam(
            self.network, cast("Sequence[TextItem]", queries), self.sizes.score, self.share, alone=self.sizes.alone
        )
        most = min(len(probes), self.sizes.window) or 1
        before = exam.take_before(most, self.blank)
        train, score = partial(self._trained, probes), partial(self._score, exam)
        return Measurement(before, measured_rows(len(probes), self.sizes.window, kept, train, score))

    def _score(self, exam: Exam, deltas: list[dict[str, Tensor]]) -> list[Scores]:
        filled = deltas + deltas[:1] * (exam.most - len(deltas))
        return self.examine(exam, filled)[: len(deltas)] if deltas else []

    def _batches(self, indices: list[int], probes: Sequence[Training[Item]]) -> Iterator[list[int]]:
        """Trainings of one rhythm together; of those that are not scheduled, as many as the budget lets be read."""

        def shape(i: int) -> tuple[tuple[int, ...], bool, int, int]:
            scheduled = probes[i].way == "scheduled"
            rows = 0 if scheduled else len(probes[i].items)
            return probes[i].rhythm, scheduled, rows, max(item.size for item in probes[i].items)

        batch: list[int] = []
        for i in sorted(indices, key=shape):
            *alike, rows, width = shape(i)
            full = (len(batch) + 1) * rows * width > self.sizes.train
            if batch and (full or [*alike, rows] != list(shape(batch[0])[:3])):
                yield batch
                batch = []
            batch.append(i)
        if batch:
            yield batch

    def train_all(self, probes: Sequence[Training[Item]]) -> list[Tuned]:
        """Takes N trainings, in batches."""
        tuned: dict[int, Tuned] = {}
        for window in windows(len(probes), self.sizes.window):
            tuned |= self._trained(probes, list(window))
        return [tuned[i] for i in range(len(probes))]

    @property
    def at_once(self) -> int:
        """The window."""
        return self.sizes.window

    @property
    def held(self) -> int:
        """Bytes of one delta, where it grows with the model."""
        return 0

    def reads(self, delta: Mapping[str, Tensor]) -> bool:
        """Whether a delta holds parameters and not factors of them."""
        return not any(":" in name for name in delta)

    def _trained(self, probes: Sequence[Training[Item]], indices: list[int]) -> dict[int, Tuned]:
        tuned: dict[int, Tuned] = {}
        for batch in self._batches(indices, probes):
            tuned |= dict(zip(batch, self.train([probes[i] for i in batch]), strict=True))
        return tuned


class TextEngine(BatchedText):
    """Batched LoRA for a causal LM.

    Args:
        base: The model; it is neither changed nor copied where the recipe keeps its dtype.
        recipe: With LoRA.
        seed: Of the adapters' start values.
        sizes: Batch sizes.
        share: Whether queries that begin alike share that beginning.
    """

    def __init__(self, base: Base, recipe: Recipe, seed: int, sizes: Sizes | None = None, share: bool = True) -> None:
        self.lora = Lora(base, recipe, seed)
        model = shared_copy(base.model, getattr(torch, recipe.dtype))
        now = Now()
        self.lora.patch(model, now)
        names = {layer.name + ".weight" for layer in self.lora.layers}
        named = dict(model.named_parameters(remove_duplicate=False))
        self.norms = {name: named[name].norm().item() for name in names}
        network = Network(model, base.model, first_changed(model, base.model, names), now)
        self.lora.find_first(network)
        numbers = sum(layer.start.numel() + layer.out * len(layer.start) for layer in self.lora.layers)
        super().__init__(network, recipe, sizes or default_sizes(model, numbers, 64), share)

    @property
    def held(self) -> int:
        """Bytes of A and B."""
        return 4 * sum(layer.start.numel() + layer.out * len(layer.start) for layer in self.lora.layers)

    def blank(self, probes: int) -> None:
        """Puts in N probes that are the base."""
        self.lora.put(self.lora.fresh(probes))

    def examine(self, exam: Exam, deltas: list[dict[str, Tensor]]) -> list[Scores]:
        """Puts the queries to as many probes as the exam expects, or more."""
        values = self.lora.stack(list(deltas))
        return exam.take(len(deltas), lambda begin, end: self.lora.put([value[begin:end] for value in values]))

    def train(self, probes: Sequence[Training[Item]]) -> list[Tuned]:
        """Takes N trainings of one rhythm at once; what one does never reaches another."""
        values = [value.requires_grad_(True) for value in self.lora.fresh(len(probes))]
        parts: list[_Part] = []

        def gradients(losses: Sequence[Loss], new: bool) -> tuple[Tensor, Sequence[Tensor]]:
            if new:
                parts[:] = [self._part(losses, slots) for slots in split(losses, self.sizes.train)]
            return by_part(parts, values, self._gradients)

        told = descend(self.recipe, probes, values, gradients)
        self.lora.put(None)
        values = [value.detach() for value in values]
        pick = partial(self.lora.pick, values)
        return outcomes(told, self.recipe, self.lora.update_norms(values), self.norms, pick)

    def _part(self, losses: Sequence[Loss], slots: list[int]) -> _Part:
        batch = Batch.of([losses[slot] for slot in slots], self.device)
        part = _Part(slots, batch, Seats(rows=batch.rows, width=batch.width))
        if self.network.start:
            part.resume = self.network.below(batch.ids[:1] if batch.same else batch.ids, batch.positions, part.seats)
        return part

    def _gradients(self, part: _Part, values: list[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        """Of a part's losses (N,), the adapters' gradients."""
        self.lora.put(values)
        now, batch = self.network.now, part.batch
        now.resume, now.first, now.same = part.resume, part.first, batch.same
        try:
            loss = batch.loss(self.network.logits(batch.ids, batch.positions, part.seats, batch.answers))
            # What a text does not pass has no gradient; there B stays zero, so A may stay or decay as it likes.
            found = torch.autograd.grad(loss.sum(), values, allow_unused=True, materialize_grads=True)
        finally:
            now.resume, now.first, now.same = None, {}, False
        return loss, found


@dataclass(eq=False)
class _Part:
    """What is read at once in one step.

    Args:
        slots: Which of the trainings.
        batch: Their texts.
        seats: Which token sees which.
        resume: What enters the first block that differs from the base's.
        first: What layers behind no adapter make of the texts; see :class:`einfluence.engine.network.Now`.
    """

    slots: list[int]
    batch: Batch
    seats: Seats
    resume: Tensor | None = None
    first: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
