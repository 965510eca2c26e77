"""Gradients of single samples at a model's parameters, many samples at a time, held against the definition.

One backward pass gives, of each layer, what entered it and the gradient of what left it; their products are the
gradients of its parameters (Goodfellow 2015, "Efficient per-example gradient computations"). A layer that is no product
is differentiated by itself, sample by sample under vmap. What neither gives as the definition has it, such as a
parameter that is used past its layer, is left to the definition.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap
from transformers.pytorch_utils import Conv1D

from einfluence.engine.batch_sizes import memory_budget
from einfluence.engine.gradients.definition import Point, logprob_gradient
from einfluence.engine.gradients.features import Factors, Features, joined
from einfluence.engine.measurement import Item
from einfluence.engine.precise import has_float64
from einfluence.errors import InputError

TOKENS = 512  # that are read at once
WRONG = 1e-3  # share of a gradient's norm by which it may differ from the definition's

PRODUCTS = (nn.Linear, Conv1D, nn.Embedding)  # and no kinds of them, which may do more


@dataclass
class _Layer:
    """A module with trained parameters: by its own names for them, those of the model."""

    module: nn.Module
    own: dict[str, str]
    calls: list[tuple[Tensor, Tensor]] = field(default_factory=list[tuple[Tensor, Tensor]])


class Collector:
    """Gradients of samples' log-probs, summed over their targets, at a point.

    Whatever stands in a batch together, each sample has the gradient that it has alone, to rounding.

    Args:
        point: The model, and which parameters count. Its parameters may be changed between two calls.

    Raises:
        InputError: When the model is on a device without float64, in which estimators add up.
    """

    def __init__(self, point: Point) -> None:
        self.point = point
        self.device = next(point.model.parameters()).device
        if not has_float64(self.device):
            found = f"{self.device.type}, which has no float64 for gradient estimators"
            raise InputError("device", found, "cpu or a GPU of CUDA", "measure with `--device cpu`")
        self.layers = _layers(point)
        self.slow: set[str] | None = None  # parameters that the definition collects, once it is known which

    def collect(
        self, items: Sequence[Item], names: Sequence[str] | None = None, *, seed: int | None = None
    ) -> dict[str, Features]:
        """Features of n samples by the name of a parameter.

        Args:
            items: The samples.
            names: Only these parameters; by default all that count.
            seed: Given, targets are drawn from what the model says, by this seed and a sample's place among the items.
        """
        names = list(self.point.trained) if names is None else list(names)
        if self.slow is None:
            self.slow = self._slow(items)
        fast = [name for name in names if name not in self.slow]
        lots: list[tuple[Tensor, dict[str, Features]]] = []
        for some in batches(items):
            index = torch.tensor(some, device=self.device)
            draws = None if seed is None else [np.random.default_rng((seed, i)) for i in some]
            lots.append((index, self._collect([items[i] for i in some], fast, draws)))
        found = {name: joined([(index, lot[name]) for index, lot in lots], len(items)) for name in fast}
        rest = [name for name in names if name in self.slow]
        return {**found, **(self._one_by_one(items, rest, seed) if rest else {})}

    def groups(self, items: Sequence[Item]) -> Iterator[list[str]]:
        """The parameters in lots of which the features of some samples fit into memory together."""
        largest = max(items, key=lambda item: item.size)
        sizes = {name: each.bytes * len(items) for name, each in self.collect([largest]).items()}
        group, room = list[str](), memory_budget(self.device) // 4
        for name, size in sizes.items():
            if group and sum(sizes[one] for one in group) + size > room:
                yield group
                group = []
            group.append(name)
        yield group

    def _collect(
        self, items: Sequence[Item], names: Sequence[str], draws: Sequence[np.random.Generator] | None = None
    ) -> dict[str, Features]:
        wanted = set(names)
        layers = [layer for layer in self.layers if wanted & set(layer.own.values())]
        hooks = [layer.module.register_forward_hook(_noting(layer, len(items))) for layer in layers]
        try:
            with torch.enable_grad():
                total = self._logprob(items, draws)
        finally:
            calls = [(layer, entered, out) for layer in layers for entered, out in layer.calls]
            for hook in hooks:
                hook.remove()
            for layer in layers:
                layer.calls.clear()
        outs = [out for _, _, out in calls]
        left = torch.autograd.grad(total, outs, allow_unused=True, materialize_grads=True) if outs else ()
        parts: dict[str, list[Features]] = {name: [] for name in names}
        for (layer, entered, _), gradient in zip(calls, left, strict=True):
            for own, each in _features(layer, entered, gradient, len(items)).items():
                parts.get(layer.own[own], []).append(each)
        shapes = {name: tuple(self.point.trained[name].shape) for name in names}
        return {name: _added(shapes[name], len(items), some, total) for name, some in parts.items()}

    def _logprob(self, items: Sequence[Item], draws: Sequence[np.random.Generator] | None) -> Tensor:
        base, model = self.point.base, self.point.model
        parameter = next(model.parameters())
        batch = base.objective.collate(items).to(parameter.device, parameter.dtype)
        logits = base.objective.logits(model, batch)
        targets, logprobs = batch.targets, logits.log_softmax(-1)
        if draws is not None:
            drawn = [draw.random(item.n_target) for draw, item in zip(draws, items, strict=True)]
            uniform = torch.zeros(targets.shape, dtype=torch.float64, device=logprobs.device)
            uniform[batch.counts] = torch.from_numpy(np.concatenate(drawn)).to(logprobs.device)
            below = logprobs.detach().double().exp().cumsum(-1) < uniform[..., None]
            targets = below.sum(-1).clamp(max=logits.shape[-1] - 1)
        logprob = logprobs.gather(-1, targets[..., None])[..., 0]
        return torch.where(batch.counts, logprob, 0.0).sum()

    def _slow(self, items: Sequence[Item]) -> set[str]:
        """The parameters whose gradients this way is not right for, as tried on a sample, in a batch with another."""
        order = sorted(range(len(items)), key=lambda i: items[i].size)
        pair = [items[order[0]], items[order[-1]]]
        right = logprob_gradient(self.point, pair[0])
        try:
            tried = self._collect(pair, list(self.point.trained))
        except Exception:  # a layer that cannot be collected from so: those that can be are found one by one
            self.layers = [layer for layer in self.layers if self._works(layer, pair)]
            try:
                tried = self._collect(pair, list(self.point.trained))
            except Exception:  # they can, but not together
                return set(right)
        scale = max(float(value.norm()) for value in right.values())
        wrong: set[str] = set()
        for name, value in right.items():
            rows, columns = tried[name].matrix
            found = tried[name].rows(0, rows)[0].view(rows, columns)
            away = float((found - value.reshape(rows, columns)).norm())
            if not away <= WRONG * max(float(value.norm()), WRONG * scale):
                wrong.add(name)
        return wrong

    def _works(self, layer: _Layer, items: Sequence[Item]) -> bool:
        try:
            self._collect(items, list(layer.own.values()))
        except Exception:
            return False
        return True

    def _one_by_one(self, items: Sequence[Item], names: Sequence[str], seed: int | None) -> dict[str, Features]:
        if seed is None:
            each = [logprob_gradient(self.point, item) for item in items]
        else:
            each = [self._drawn(item, np.random.default_rng((seed, i)), names) for i, item in enumerate(items)]
        found: dict[str, Features] = {}
        for name in names:
            blank = Features(tuple(self.point.trained[name].shape), len(items))
            whole = torch.stack([gradient[name].reshape(blank.matrix) for gradient in each])
            found[name] = Features(blank.shape, len(items), (), whole)
        return found

    def _drawn(self, item: Item, draw: np.random.Generator, names: Sequence[str]) -> dict[str, Tensor]:
        """The gradient of one sample's log-prob with the targets that it has beside others."""
        some = [self.point.trained[name] for name in names]
        with torch.enable_grad():
            total = self._logprob([item], [draw])
        found = torch.autograd.grad(total, some, allow_unused=True, materialize_grads=True)
        return dict(zip(names, found, strict=True))


def batches(items: Sequence[Item]) -> Iterator[list[int]]:
    """Which items are read together: those of like size, not too many tokens at once."""
    some = list[int]()
    for i in sorted(range(len(items)), key=lambda i: items[i].size):
        if some and ((len(some) + 1) * items[i].size > TOKENS or items[i].size > items[some[0]].size + 2):
            yield some
            some = []
        some.append(i)
    if some:
        yield some


def _layers(point: Point) -> list[_Layer]:
    """The modules that own trained parameters and have no others inside; a parameter may have several owners."""
    known = {id(value): name for name, value in point.trained.items()}
    found: list[_Layer] = []
    for module in point.model.modules():
        own = {name: known[id(value)] for name, value in module.named_parameters(recurse=False) if id(value) in known}
        if own and not any(True for _ in module.children()):
            found.append(_Layer(module, own))
    return found


def _noting(layer: _Layer, n: int) -> Any:
    def note(_module: nn.Module, inputs: tuple[Any, ...], out: Any) -> Tensor | None:
        if len(inputs) != 1 or not isinstance(out, Tensor) or not out.requires_grad:
            return None
        entered = inputs[0].detach()
        if n > 1 and len(entered) == len(out) == 1:  # the same for all samples, as places in a text are
            entered, out = (each.expand(n, *each.shape[1:]) for each in (entered, out))
        layer.calls.append((entered, out))
        return out

    return note


def _features(layer: _Layer, entered: Tensor, left: Tensor, n: int) -> Mapping[str, Features]:
    """Features of a layer's parameters, by its own names, from what entered and the gradient of what left."""
    module = layer.module
    if entered.shape[0] != n or left.shape[0] != n:
        raise TypeError(f"{type(module).__name__} does not keep samples apart")
    if type(module) not in PRODUCTS:
        return _differentiated(layer, entered, left, n)
    index = torch.arange(n, device=left.device)
    entered = entered.reshape(n, -1) if isinstance(module, nn.Embedding) else entered.reshape(n, -1, entered.shape[-1])
    left = left.reshape(n, -1, left.shape[-1])
    found: dict[str, Features] = {}
    if "bias" in layer.own:
        found["bias"] = Features((left.shape[-1],), n, (), left.sum(1, keepdim=True))
    if "weight" not in layer.own:
        return found
    weight: Tensor = layer.module.get_parameter("weight")
    shape = tuple(weight.shape)
    if isinstance(module, nn.Embedding) and module.padding_idx is not None:
        left = torch.where((entered == module.padding_idx)[..., None], 0.0, left)
    entered, left = _reached(entered, left)
    both = (left, entered) if isinstance(module, nn.Linear) else (entered, left)
    return {**found, "weight": Features(shape, n, (Factors(index, *both),))}


def _reached(entered: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
    """Without the places whose gradient is 0, as far as every sample has some: targets are few, and padding is none."""
    counts = (left != 0).any(-1)
    if entered.dim() == left.dim():  # so that nothing of a place counts that happens to stand beside longer samples
        entered = torch.where(counts[..., None], entered, 0.0)
    most = max(int(counts.sum(1).max()), 1)
    if most == counts.shape[1]:
        return entered, left
    order = torch.sort(counts.to(torch.uint8), dim=1, descending=True, stable=True).indices[:, :most]
    who = torch.arange(len(order), device=order.device)[:, None]
    return entered[who, order], left[who, order]


def _differentiated(layer: _Layer, entered: Tensor, left: Tensor, n: int) -> Mapping[str, Features]:
    """Any layer that treats samples alike: its own derivative, of one sample at a time under vmap."""
    own = {name: value.detach() for name, value in layer.module.named_parameters() if name in layer.own}

    def one(x: Tensor, gradient: Tensor) -> dict[str, Tensor]:
        def called(values: dict[str, Tensor]) -> Tensor:
            return functional_call(layer.module, values, (x[None],))

        back: Any = vjp(called, own)[1]
        return back(gradient[None])[0]

    found = vmap(one)(entered, left)
    return {
        name: Features(tuple(own[name].shape), n, (), value.reshape(n, *Features(tuple(own[name].shape), n).matrix))
        for name, value in found.items()
    }


def _added(shape: tuple[int, ...], n: int, some: Sequence[Features], like: Tensor) -> Features:
    """What several uses of a parameter say of it; nothing where it is not used."""
    wholes = [each.whole for each in some if each.whole is not None]
    parts = tuple(part for each in some for part in each.parts)
    blank = Features(shape, n)
    if not wholes and not parts:
        return Features(shape, n, (), like.detach().new_zeros(n, *blank.matrix))
    return Features(shape, n, parts, torch.stack(wholes).sum(0) if wholes else None)
