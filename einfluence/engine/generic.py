"""Measures any torch module of any objective: copies of its trained parameters are stacked, and torch.func runs them.

Slower than what is made by hand for one kind of model, and made for no kind: the module's own code is run once for
many trainings (``torch.func.functional_call`` under ``vmap``), and what it cannot be run so is left to the definition.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_leaves

from einfluence.engine.adapters import PREFIX
from einfluence.engine.batch_sizes import Sizes, default_sizes, memory_budget
from einfluence.engine.definition import layer_updates, trainable_copy
from einfluence.engine.descent import by_part, descend, measured_rows, split, windows
from einfluence.engine.generic_scoring import QueryScorer
from einfluence.engine.lora_products import make_quick
from einfluence.engine.measurement import Item, Measurement, Tuned
from einfluence.engine.merged import merging
from einfluence.engine.merged_reading import MergedReading
from einfluence.engine.outcomes import TrainingTrace, outcomes
from einfluence.engine.read_rows import ReadRows, close
from einfluence.engine.schedule import Loss, Rhythm, Training
from einfluence.engine.structure import structure_of
from einfluence.models.base import Base, Batch
from einfluence.spec import Recipe

Values = Mapping[str, Tensor]
CACHED = 4 << 20  # bytes; in larger blocks pictures took up to a quarter longer to read


class GenericEngine:
    """Any base, adapter and optimizer.

    Args:
        base: The base; a private copy of it is held.
        recipe: Any.
        seed: Of LoRA's start values.
        sizes: Batch sizes; ``train`` and ``score`` count what items call their size.
    """

    def __init__(self, base: Base, recipe: Recipe, seed: int, sizes: Sizes | None = None) -> None:
        self.base, self.recipe = base, recipe
        self.model, trained = trainable_copy(base, recipe, seed)
        _make_mappable(self.model)
        make_quick(self.model)
        self.start: Mapping[str, Tensor] = {name: value.detach().clone() for name, value in trained.items()}
        self.trained = trained
        first = next(self.model.parameters())
        self.device, self.dtype = first.device, first.dtype
        self._sizes, self._fitted = sizes, sizes is not None
        self._reached: list[str] | None = None
        self._merging = merging(base.model, self.model, trained, self.start)
        self._read: dict[nn.Module, ReadRows] = {}
        self._structure = structure_of(base.model) if hasattr(base.model, "config") else None
        self.merged: MergedReading | None = None
        if self._merging is not None:
            known = {} if self._structure is None else self._structure.records
            key = type(base.objective), self.dtype, tuple(self.start)
            self.merged = MergedReading(self._merging, self._reader, self.start, known.setdefault(key, []))

    @property
    def max_trainings(self) -> int:
        """Trainings that are held at once."""
        return self.sizes.window

    @property
    def bytes_per_training(self) -> int:
        """Bytes of what is trained."""
        return sum(value.numel() * value.element_size() for value in self.start.values())

    @property
    def sizes(self) -> Sizes:
        """How much is computed at once."""
        if self._sizes is None:
            self._sizes = default_sizes(self.model, sum(value.numel() for value in self.start.values()), 64)
        return self._sizes

    def _fit(self, items: Sequence[Item]) -> None:
        """Lets less be read at once where what the modules make of one item would not fit into memory, as of pictures.

        Sizes that were given stay as they are. Training keeps all of it; reading the largest, and what it is made of,
        which of pictures had best stay in a cache.
        """
        if self._fitted or not items:
            return
        self._fitted = True
        made: list[int] = []

        def note(module: nn.Module, _inputs: Any, out: Any) -> None:
            made.append(sum(v.numel() * v.element_size() for v in tree_leaves(out) if isinstance(v, Tensor)))

        hooks = [module.register_forward_hook(note) for module in self.model.modules()]
        try:
            with torch.no_grad():
                self.base.objective.logits(self.model, self.collated(items[:1]))
        finally:
            for hook in hooks:
                hook.remove()
        room, sizes = memory_budget(self.device) // 2 * items[0].size, self.sizes
        train, score = (max(int(room // (3 * max(took, 1))), 1) for took in (sum(made), max(made, default=0)))
        if self.device.type == "cpu" and "one size" in self.base.objective.can:
            score = min(score, max(CACHED * items[0].size // max(made, default=1), 1))
        self._sizes = replace(sizes, train=min(sizes.train, train), score=min(sizes.score, score))

    def accepts(self, delta: Mapping[str, Tensor]) -> bool:
        """Whether a delta holds what this recipe trains."""
        return set(delta) == set(self.start)

    def measure(
        self, probes: Sequence[Training[Item]], queries: Sequence[Item], kept: Mapping[int, dict[str, Tensor]]
    ) -> Measurement:
        """As :func:`einfluence.engine.measure`."""
        self._fit([*queries[:1], *(item for probe in probes[:1] for item in probe.items[:1])])
        scorer = QueryScorer(self, queries, len(probes))

        def train(indices: list[int]) -> dict[int, Tuned]:
            return dict(zip(indices, self.train_all([probes[i] for i in indices]), strict=True))

        return Measurement(scorer.before, measured_rows(len(probes), self.max_trainings, kept, train, scorer.score))

    def train_all(self, probes: Sequence[Training[Item]]) -> list[Tuned]:
        """Takes N trainings, those of one rhythm side by side."""
        self._fit([item for probe in probes[:1] for item in probe.items[:1]])
        tuned: dict[int, Tuned] = {}
        groups: dict[Rhythm, list[int]] = {}
        for i, probe in enumerate(probes):
            groups.setdefault(probe.rhythm, []).append(i)
        for group in groups.values():
            for window in windows(len(group), self.max_trainings):
                some = group[window.start : window.stop]
                tuned |= dict(zip(some, self._train([probes[i] for i in some]), strict=True))
        return [tuned[i] for i in range(len(probes))]

    def _train(self, probes: Sequence[Training[Item]]) -> list[Tuned]:
        n, names = len(probes), self.learning(probes[0].items[0])
        values = [self.start[name].expand(n, *self.start[name].shape).clone().requires_grad_() for name in names]
        parts: list[Part] = []

        def gradients(losses: Sequence[Loss], new: bool) -> tuple[Tensor, Sequence[Tensor]]:
            if new:
                parts[:] = self.parts(losses)
            return by_part(parts, values, of_part)

        def of_part(part: Part, own: list[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
            loss = part.loss(self.logits(dict(zip(names, own, strict=True)), part.batch, part.shared))
            return loss, torch.autograd.grad(loss.sum(), own)

        trace = descend(self.recipe, probes, values, gradients)
        stacked = {name: value.detach() for name, value in zip(names, values, strict=True)}
        return self._outcomes(trace, stacked)

    def learning(self, item: Item) -> list[str]:
        """Names of the trained parameters that an item's loss depends on; torch's optimizers pass all others over."""
        if self._reached is None:
            batch = self.collated([item])
            logits = self.base.objective.logits(self.model, batch)
            found: Any = torch.autograd.grad(logits.sum(), list(self.trained.values()), allow_unused=True)
            self._reached = [name for name, gradient in zip(self.trained, found, strict=True) if gradient is not None]
        return self._reached

    def _outcomes(self, trace: TrainingTrace, stacked: Values) -> list[Tuned]:
        def delta(i: int) -> dict[str, Tensor]:
            own = {name: value[i].clone() for name, value in stacked.items()}
            return {name: own.get(name, start) for name, start in self.start.items()}

        updates, norms = self._changes(len(trace.losses), stacked, delta)
        return outcomes(trace, self.recipe, updates, norms, delta)

    def _changes(
        self, n: int, stacked: Values, delta: Callable[[int], dict[str, Tensor]]
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Norms of what N trainings changed in each parameter of the base, and of that before."""
        if self._merging is not None:
            every = {name: stacked.get(name, start.expand(n, *start.shape)) for name, start in self.start.items()}
            found = list(self._merging.changes(every))
            return {name: norms for name, norms, _ in found}, {name: own for name, _, own in found}
        rows: list[dict[str, tuple[float, float]]] = []
        for i in range(n):
            with torch.no_grad():
                for name, value in delta(i).items():
                    self.trained[name].copy_(value)
            rows.append(layer_updates(self.base, self.model, self.recipe))
        updates = {name: torch.tensor([row[name][0] for row in rows], dtype=torch.float64) for name in rows[0]}
        return updates, {name: norm for name, (_, norm) in rows[0].items()}

    @property
    def pads(self) -> bool:
        """Whether texts of different lengths may be in one batch: the padding of a causal text comes after it.

        Elsewhere it would take a mask, into which a model looks, and that no function under vmap may.
        """
        return "causal text" in self.base.objective.can

    def collated(self, items: Sequence[Item]) -> Batch:
        """Items as the model takes them, on its device."""
        batch = self.base.objective.collate(items).to(self.device, self.dtype)
        if self.pads:
            batch.inputs.pop("attention_mask", None)
        self._reader(self.model, batch)
        return batch

    def parts(self, losses: Sequence[Loss]) -> list[Part]:
        """What is read at once: of some trainings all their items, or where nothing may be padded, those of a size."""
        items = {item.size: item for loss in losses for item in loss.items}
        mixed = self.pads or len(items) < 2 or self._masks(items[min(items)], items[max(items)])
        groups = [losses] if mixed else [[_of_size(loss, size) for loss in losses] for size in sorted(items)]
        return [Part.of(self, group, slots) for group in groups for slots in split(group, self.sizes.train)]

    def _masks(self, short: Item, long: Item) -> bool:
        """Whether texts of different lengths are read together as each alone; tried where one is the longest so far.

        A mask that holds what attention adds to its scores is nothing that models of transformers look into.
        """
        if self._structure is None:
            return False
        right, longest = self._structure.masks
        if right and long.size > longest:
            try:
                right = self._reads_padded(short, long)
            except Exception:  # whatever a model wants otherwise
                right = False
            self._structure.masks = right, long.size
        return right

    @torch.no_grad()
    def _reads_padded(self, *items: Item) -> bool:
        losses = [Loss((item,), (1.0,), 1.0) for item in items]

        def read(some: Sequence[Loss]) -> Tensor:
            values = {name: start.expand(len(some), *start.shape) for name, start in self.start.items()}
            return self.logits(values, Part.of(self, some, [*range(len(some))]).batch, False)

        together = read(losses)
        alone = [read([loss])[0, 0, : item.n_target] for loss, item in zip(losses, items, strict=True)]
        return all(close(found[0, : len(true)], true, self.dtype) for found, true in zip(together, alone, strict=True))

    def logits(
        self, values: Mapping[str, Float[Tensor, "N ..."]], batch: Batch, shared: bool
    ) -> Float[Tensor, "N B T classes"]:
        """Logits from stacked parameters and N batches, or one that all N read."""
        # A CPU's fused attention has no form for many at once; nor have some other products, which run sequentially.
        with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
            warnings.filterwarnings("ignore", message="There is a performance drop")
            warnings.filterwarnings("ignore", message="An output with one or more elements was resized")
            return vmap(self._one, in_dims=(0, None if shared else 0))(dict(values), batch)

    def _one(self, own: dict[str, Tensor], batch: Batch) -> Float[Tensor, "B T classes"]:
        def call(*args: Any, **inputs: Any) -> Any:
            return functional_call(self.model, own, args, inputs)

        return self._read[self.model].logits(call, batch)

    def _reader(self, model: nn.Module, batch: Batch) -> ReadRows:
        """What reads a model's logits, found out by the first batch that there is."""
        if model not in self._read:
            known = self._structure
            name = None if known is None else known.last_block
            prefix = PREFIX if model is self.model and self.recipe.adapter.kind == "lora" else ""
            block = None if name is None else model.get_submodule(prefix + name)
            narrows = {} if known is None else known.narrows
            self._read[model] = ReadRows(model, block, self.base.objective, batch, narrows)
        return self._read[model]


def _of_size(loss: Loss, size: int) -> Loss:
    """What of a loss comes from items of one size."""
    kept = [(item, weight) for item, weight in zip(loss.items, loss.weights, strict=True) if item.size == size]
    return Loss(tuple(item for item, _ in kept), tuple(weight for _, weight in kept), loss.divisor)


@dataclass(frozen=True, eq=False)
class Part:
    """What some trainings read in one step, equally many items each.

    Args:
        slots: Which of the trainings.
        batch: (n, B, ...) for n slots, or (B, ...) where all of them read the same.
        shared: Whether they do.
        weights: 0 where an item only pads a slot.
        divisors: One for each slot.
    """

    slots: list[int]
    batch: Batch
    shared: bool
    weights: Float[Tensor, "n B T"]
    divisors: Float[Tensor, " n"]

    @classmethod
    def of(cls, engine: GenericEngine, losses: Sequence[Loss], slots: list[int]) -> Part:
        """What some slots read for their losses."""
        own = [losses[slot] for slot in slots]
        rows = max(len(loss.items) for loss in own)
        items = [(*loss.items, *loss.items[:1] * (rows - len(loss.items))) for loss in own]
        shared = len(own) > 1 and all(some == items[0] for some in items)
        batch = engine.collated(items[0] if shared else [item for some in items for item in some])
        if (mask := batch.inputs.get("attention_mask")) is not None:
            added = torch.zeros_like(mask, dtype=engine.dtype).masked_fill(mask == 0, torch.finfo(engine.dtype).min)
            batch.inputs["attention_mask"] = added[:, None, None]
        if not shared:
            inputs = {name: value.unflatten(0, (len(own), rows)) for name, value in batch.inputs.items()}
            batch = Batch(inputs, *(value.unflatten(0, (len(own), rows)) for value in batch[1:]))
        weights = [[*loss.weights, *[0.0] * (rows - len(loss.items))] for loss in own]
        exact = torch.float64 if engine.dtype == torch.float64 else torch.float32
        counts = batch.counts.to(exact)
        divisors = torch.tensor([loss.divisor for loss in own], dtype=exact, device=engine.device)
        return cls(
            slots, batch, shared, torch.tensor(weights, dtype=exact, device=engine.device)[..., None] * counts, divisors
        )

    def loss(self, logits: Float[Tensor, "n B T classes"]) -> Float[Tensor, " n"]:
        """The loss of each slot."""
        targets = self.batch.targets.expand(logits.shape[:-1])
        nats = F.cross_entropy(logits.flatten(0, 2), targets.flatten(), reduction="none").view(targets.shape)
        return (nats * self.weights).sum((1, 2)) / self.divisors


def _make_mappable(model: nn.Module) -> None:
    """What of transformers' and torch's modules looks into the data, put in another way that gives the same."""
    for module in model.modules():
        some: Any = module
        if hasattr(some, "warn_if_padding_and_no_attention_mask"):
            some.warn_if_padding_and_no_attention_mask = _silent
        if hasattr(some, "set_experts_implementation") and some._can_set_experts_implementation():
            some.set_experts_implementation("batched_mm")
        if isinstance(module, nn.Embedding) and module.padding_idx is not None and _takes_ids_alone(module):
            some.forward = partial(_look_up, module, some.forward)


def _takes_ids_alone(module: nn.Embedding) -> bool:
    """Whether it is called like torch's own; so are those that scale what they look up."""
    return len(inspect.signature(module.forward).parameters) == 1


def _look_up(
    module: nn.Embedding, forward: Callable[[Tensor], Tensor], ids: Int[Tensor, "*shape"]
) -> Float[Tensor, "*shape width"]:
    """An embedding whose padding row learns nothing where it is read: under vmap torch forgets that."""
    padding, module.padding_idx = module.padding_idx, None
    try:
        out = forward(ids)
    finally:
        module.padding_idx = padding
    return torch.where((ids == padding)[..., None], out.detach(), out)


def _silent(*_: Any, **__: Any) -> None:
    """Warns of nothing: what pads a text here is seen by none of its tokens."""
