"""Measures image probes many at once: stacked weights in training, one plain network at a time over all queries."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from einfluence.engine.contract import Unsupported
from einfluence.engine.definition import trainable_copy
from einfluence.engine.descent import by_part, descend, split
from einfluence.engine.image.pooling import pool_first
from einfluence.engine.image.scoring import ImageScorer, ImageSizes, image_batch
from einfluence.engine.measurement import ImageItem, Item, MeasuredRow, Measurement, Scores, Tuned
from einfluence.engine.outcomes import outcomes
from einfluence.engine.schedule import Loss, Rhythm, Training
from einfluence.engine.stacked_layers import KNOWN, low_rank_linear
from einfluence.engine.structure import shared_copy
from einfluence.models.base import Base
from einfluence.spec import Recipe

_PREFIX = "base_model.model."


@dataclass(eq=False)
class _Owner:
    """A layer of the network and what its parameters are for the probes being run: (N, *shape), or the base's own.

    Args:
        name: In the network.
        module: The layer, with the base's parameters.
        values: By name of the parameter.
        low_rank: What is added to the weight of a linear layer, as factors that are never multiplied: (N, r, in) and
            (N, out, r).
    """

    name: str
    module: nn.Module
    values: dict[str, Tensor]
    low_rank: tuple[Tensor, Tensor] | None = None

    def weights(self, which: str) -> Tensor:
        given = self.values.get(which)
        return cast("Tensor", getattr(self.module, which)).detach()[None] if given is None else given


class ImageEngine:
    """Batched fine-tuning of an image classifier.

    Args:
        base: The classifier; it is neither changed nor copied where the recipe keeps its dtype.
        recipe: Any adapter and optimizer.
        seed: Of LoRA's start values.
        sizes: Batch sizes.

    Raises:
        Unsupported: When the recipe trains a parameter of a layer whose exact type is not in
            :data:`einfluence.engine.stacked_layers.KNOWN`.
    """

    def __init__(self, base: Base, recipe: Recipe, seed: int, sizes: ImageSizes | None = None) -> None:
        self.recipe = recipe
        self.sizes = sizes or ImageSizes()
        copied, trained = trainable_copy(base, recipe, seed)
        self.start = {name: value.detach().clone() for name, value in trained.items()}
        self.model = shared_copy(base.model, getattr(torch, recipe.dtype))
        pool_first(self.model)
        self.model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.parameters = {name: p.detach() for name, p in self.model.named_parameters(remove_duplicate=False)}
        self.norms = {name: p.norm().item() for name, p in base_parameters(base, recipe).items()}
        self.scales = {
            name.removeprefix(_PREFIX): cast("Any", module).scaling["default"]
            for name, module in copied.named_modules()
            if isinstance(module, LoraLayer)
        }
        self.owners = self._patch()
        self.device = next(self.model.parameters()).device

    def measure(
        self, probes: Sequence[Training[Item]], queries: Sequence[Item], kept: Mapping[int, dict[str, Tensor]]
    ) -> Measurement:
        """As :func:`einfluence.engine.measure`."""
        self._put({name: value[None] for name, value in self.start.items()})
        trained = [owner.module for owner in self.owners]
        scorer = ImageScorer(
            self.model, trained, cast("Sequence[ImageItem]", queries), self.sizes, self._dtype, self.device
        )
        before = scorer.score()

        def each() -> Iterator[MeasuredRow]:
            for batch in self._batches(probes):
                new = [i for i in batch if i not in kept]
                tuned = dict(zip(new, self.train([probes[i] for i in new]), strict=True))
                for i in batch:
                    outcome = tuned.get(i) or Tuned(kept[i], [], math.nan, math.nan)
                    yield MeasuredRow(i, outcome, None if outcome.failed else self._score(scorer, outcome.delta))

        return Measurement(before, each())

    @property
    def max_trainings(self) -> int:
        """The most that train side by side."""
        return self.sizes.most

    @property
    def bytes_per_training(self) -> int:
        """Bytes of what is trained."""
        return sum(value.numel() * value.element_size() for value in self.start.values())

    def accepts(self, delta: Mapping[str, Tensor]) -> bool:
        """Whether a delta holds what this recipe trains."""
        return set(delta) == set(self.start)

    @property
    def _dtype(self) -> torch.dtype:
        return getattr(torch, self.recipe.dtype)

    def _score(self, scorer: ImageScorer, delta: Mapping[str, Tensor]) -> Scores:
        self._put({name: delta[name].to(start)[None] for name, start in self.start.items()})
        return scorer.score()

    def _batches(self, probes: Sequence[Training[Item]]) -> Iterator[list[int]]:
        """Neighbours of one rhythm and equally many images a step, as many as the sizes allow side by side."""
        size = sum(value.numel() for value in self.start.values())
        most = max(min(self.sizes.train // max(size, 1), self.sizes.most), 1)

        def shape(probe: Training[Item]) -> tuple[Rhythm, int]:
            return probe.rhythm, max((len(step.batch) for step in probe.steps), default=1)

        batch: list[int] = []
        for i, probe in enumerate(probes):
            full = len(batch) >= most or (len(batch) + 1) * shape(probe)[1] > self.sizes.images
            if batch and (full or shape(probe) != shape(probes[batch[0]])):
                yield batch
                batch = []
            batch.append(i)
        if batch:
            yield batch

    def train_all(self, probes: Sequence[Training[Item]]) -> list[Tuned]:
        """Takes N trainings, in batches."""
        tuned: dict[int, Tuned] = {}
        for batch in self._batches(probes):
            tuned |= dict(zip(batch, self.train([probes[i] for i in batch]), strict=True))
        return [tuned[i] for i in range(len(probes))]

    def train(self, probes: Sequence[Training[Item]]) -> list[Tuned]:
        """Takes N trainings of one rhythm at once; what one does never reaches another."""
        if not probes:
            return []
        n, names = len(probes), list(self.start)
        values = [self.start[name].expand(n, *self.start[name].shape).clone().requires_grad_() for name in names]
        parts: list[_Rows] = []

        def gradients(losses: Sequence[Loss], new: bool) -> tuple[Tensor, Sequence[Tensor]]:
            if new:
                each = split(losses, self.sizes.images)
                parts[:] = [_Rows.of([losses[i] for i in some], some, self._dtype, self.device) for some in each]
            return by_part(parts, values, of_part)

        def of_part(part: _Rows, own: list[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
            self._put(dict(zip(names, own, strict=True)))
            loss = part.loss(self.model(part.pixels))
            return loss, torch.autograd.grad(loss.sum(), own)

        outcome = descend(self.recipe, probes, values, gradients)
        values = [value.detach() for value in values]
        updates = self._update_norms(dict(zip(names, values, strict=True)))
        delta = partial(_pick, names, values)
        return outcomes(outcome, self.recipe, updates, self.norms, delta)

    def _update_norms(self, values: Mapping[str, Float[Tensor, "N ..."]]) -> dict[str, Float[Tensor, " N"]]:
        if self.recipe.adapter.kind == "lora":
            changes = {f"{layer}.weight": _lora_change(values, layer, scale) for layer, scale in self.scales.items()}
        else:
            changes = {name: value - self.start[name] for name, value in values.items()}
        return {name: change.flatten(1).norm(dim=1) for name, change in changes.items()}

    def _put(self, values: Mapping[str, Float[Tensor, "N ..."]]) -> None:
        """Gives each layer its parameters for N probes."""
        if self.recipe.adapter.kind != "lora":
            for owner in self.owners:
                owner.values = {which: values[f"{owner.name}.{which}"] for which in owner.values}
            return
        for owner in self.owners:
            scale = self.scales[owner.name]
            down, up = _factors(values, owner.name)
            # With many probes the products with the factors move fewer bytes than the weights themselves.
            if len(down) > 1 and type(owner.module) is nn.Linear:
                owner.values, owner.low_rank = {}, (down, scale * up)
            else:
                weight = self.parameters[f"{owner.name}.weight"] + _lora_change(values, owner.name, scale)
                owner.values, owner.low_rank = {"weight": weight}, None

    def _patch(self) -> list[_Owner]:
        lora = self.recipe.adapter.kind == "lora"
        trained = {f"{layer}.weight" for layer in self.scales} if lora else set(self.start)
        owners: list[_Owner] = []
        for name, module in self.model.named_modules():
            own = [w for w, _ in module.named_parameters(recurse=False) if (f"{name}.{w}" if name else w) in trained]
            if not own:
                continue
            if type(module) not in KNOWN:
                found = f"trained parameters in {name}, a {type(module).__name__}"
                expected = "layers of " + ", ".join(kind.__name__ for kind in KNOWN)
                raise Unsupported("recipe.adapter", found, expected)
            run = KNOWN[type(module)]
            owner = _Owner(name, module, {which: self.parameters[f"{name}.{which}"][None] for which in own})
            cast("Any", module).forward = partial(_forward, run, module, owner)
            owners.append(owner)
            trained -= {f"{name}.{which}" for which in own}
        if trained:
            raise Unsupported("recipe.adapter", f"parameters without a layer: {sorted(trained)[:3]}", "known layers")
        return owners


@dataclass(frozen=True, eq=False)
class _Rows:
    """The images of one step of N trainings, equally many of each: where one has fewer, black ones of weight 0.

    Args:
        slots: Which trainings, of all that are taken at once.
        pixels: Of the images of all trainings, N * rows.
        labels: Class indices.
        weights: In the logits' precision.
        divisors: Likewise.
    """

    slots: list[int]
    pixels: Float[Tensor, "images channels height width"]
    labels: Int[Tensor, " images"]
    weights: Float[Tensor, "N rows"]
    divisors: Float[Tensor, " N"]

    @classmethod
    def of(cls, losses: Sequence[Loss], slots: list[int], dtype: torch.dtype, device: torch.device) -> _Rows:
        rows = max(len(loss.items) for loss in losses)
        black = ImageItem(np.zeros_like(cast("ImageItem", losses[0].items[0]).pixels), 0)
        spare = [rows - len(loss.items) for loss in losses]
        items = [item for loss, more in zip(losses, spare, strict=True) for item in (*loss.items, *[black] * more)]
        pixels, labels = image_batch(cast("list[ImageItem]", items), dtype, device)
        exact = torch.float64 if dtype == torch.float64 else torch.float32
        weights = [[*loss.weights, *[0.0] * more] for loss, more in zip(losses, spare, strict=True)]
        divisors = [loss.divisor for loss in losses]
        return cls(
            slots, pixels, labels, *(torch.tensor(each, dtype=exact, device=device) for each in (weights, divisors))
        )

    def loss(self, logits: Float[Tensor, "images classes"]) -> Float[Tensor, " N"]:
        """The loss of each training."""
        nats = torch.nn.functional.cross_entropy(logits.to(self.weights.dtype), self.labels, reduction="none")
        return (nats.view(self.weights.shape) * self.weights).sum(1) / self.divisors


def _pick(names: Sequence[str], values: Sequence[Tensor], probe: int) -> dict[str, Tensor]:
    return {name: value[probe].clone() for name, value in zip(names, values, strict=True)}


def base_parameters(base: Base, recipe: Recipe) -> dict[str, Tensor]:
    """The base's parameters in the recipe's dtype."""
    return {name: p.detach().to(getattr(torch, recipe.dtype)) for name, p in base.model.named_parameters()}


def _forward(run: Callable[[Any, Tensor, Any], Tensor], module: nn.Module, owner: _Owner, x: Tensor) -> Tensor:
    if owner.low_rank is not None:
        return low_rank_linear(cast("nn.Linear", module), x, *owner.low_rank)
    probes = max(value.shape[0] for value in owner.values.values())

    def weights(which: str) -> Tensor:
        value = owner.weights(which)
        return value if value.shape[0] == probes else value.expand(probes, *value.shape[1:])

    return run(module, x, weights)


def _factors(values: Mapping[str, Tensor], layer: str) -> tuple[Float[Tensor, "N r ..."], Float[Tensor, "N out ..."]]:
    """A and B."""
    down, up = (values[f"{_PREFIX}{layer}.lora_{which}.default.weight"] for which in "AB")
    return down, up


def _lora_change(values: Mapping[str, Tensor], layer: str, scale: float) -> Float[Tensor, "N ..."]:
    """Alpha / r * B A, in the weight's shape."""
    down, up = _factors(values, layer)
    change = scale * (up.flatten(2) @ down.flatten(2))
    return change.view(*change.shape[:2], *down.shape[2:])
