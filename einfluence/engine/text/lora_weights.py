"""LoRA adapters of many probes side by side, with peft's meaning: y + alpha / r * B (A x)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Float64
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import Linear as PeftLinear
from torch import Tensor, nn

from einfluence.engine.adapters import product_norms
from einfluence.engine.contract import Unsupported
from einfluence.engine.definition import trainable_copy
from einfluence.engine.structure import shared_copy
from einfluence.engine.text.network import LINEAR, ForwardContext, Network, patch
from einfluence.models.base import Base
from einfluence.spec import Recipe

_PREFIX = "base_model.model."


@dataclass(eq=False)
class BatchedLoraLayer:
    """One adapted layer, with the adapters of the probes that are being run.

    Args:
        name: The layer's module name in the base.
        scale: alpha / r.
        start: What every probe's A begins with.
        out: Output features.
        down: The A of N probes; None runs the base.
        up: The B of N probes.
        first: Whether no adapter is before it, so that what the base makes of a batch there never changes.
    """

    name: str
    scale: float
    start: Float[Tensor, "r in"]
    out: int
    down: Float[Tensor, "N r in"] | None = None
    up: Float[Tensor, "N out r"] | None = None
    first: bool = False

    def wrap(self, context: ForwardContext, module: Any) -> Callable[[Tensor], Tensor]:
        """The layer's forward for a batch whose outermost dimension is N probes, each with equally many rows."""
        forward: Callable[[Tensor], Tensor] = module.forward
        weight = module.weight if type(module) is nn.Linear else module.weight.T  # (out, in)

        def adapted(x: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch out"]:
            if self.down is None or self.up is None:
                return forward(x)
            probes = self.down.shape[0]
            rows = x.reshape(probes, -1, x.shape[-1])
            if self._pays_to_merge(rows, weight):
                return self._merged(rows, weight, module.bias, self.down, self.up).view(*x.shape[:-1], -1)
            plain = self._once(context, forward, rows) if self.first else forward(rows)
            # In bfloat16 what is trained is kept in float32, and rounded for the product as all around it is.
            low = rows @ self.down.to(plain.dtype).transpose(1, 2)
            up = self.up.to(plain.dtype).transpose(1, 2)
            if self.first or plain._is_view():  # of a view, changed in place, the gradient would be copied twice
                out = torch.baddbmm(plain, low, up, alpha=self.scale)
            else:
                out = plain.baddbmm_(low, up, alpha=self.scale)
            return out.view(*x.shape[:-1], -1)

        return adapted

    def _pays_to_merge(self, rows: Float[Tensor, "N L in"], weight: Float[Tensor, "out in"]) -> bool:
        """Whether B A takes less arithmetic than B (A x), and may be rounded as the weight is."""
        exact = weight.dtype in (torch.float32, torch.float64)
        fewer = weight.numel() <= rows.shape[1] * sum(weight.shape)
        return exact and fewer and not self.first and not torch.is_grad_enabled()

    def _merged(
        self,
        rows: Float[Tensor, "N L in"],
        weight: Float[Tensor, "out in"],
        bias: Float[Tensor, " out"] | None,
        downs: Float[Tensor, "N r in"],
        ups: Float[Tensor, "N out r"],
    ) -> Float[Tensor, "N L out"]:
        """The products with each probe's own W + alpha / r B A."""
        out = rows.new_empty(*rows.shape[:2], self.out)
        for x, down, up, y in zip(rows, downs, ups, out, strict=True):
            own = torch.addmm(weight, up, down, alpha=self.scale).T
            torch.mm(x, own, out=y) if bias is None else torch.addmm(bias, x, own, out=y)
        return out

    def _once(
        self, context: ForwardContext, forward: Callable[[Tensor], Tensor], rows: Float[Tensor, "N L in"]
    ) -> Float[Tensor, "N L out"]:
        """The output of the base's layer, computed once a batch, and once for all probes of one text."""
        if self.name not in context.first:
            with torch.no_grad():
                context.first[self.name] = forward(rows[:1] if context.same else rows)
        return context.first[self.name].expand(len(rows), -1, -1)


class LoraWeights:
    """The adapters of a recipe on a network's model.

    Args:
        base: The base, from which peft makes the adapters' places and start values.
        recipe: With ``adapter.kind`` ``lora``.
        seed: Of the start values.

    Raises:
        Unsupported: When peft adapts a layer other than a plain Linear or Conv1D, or trains something else besides.
    """

    def __init__(self, base: Base, recipe: Recipe, seed: int) -> None:
        known = _KNOWN.setdefault(base.model, {})
        key = (recipe.adapter, recipe.dtype, seed)
        if key not in known:
            known[key] = _layers_of(base, recipe, seed)
        self.layers = [replace(layer) for layer in known[key]]

    def patch(self, model: nn.Module, context: ForwardContext) -> None:
        """Makes the layers of ``model`` follow the adapters that are put in."""
        modules = dict(model.named_modules())
        for layer in self.layers:
            patch(modules[layer.name], layer.wrap(context, modules[layer.name]))

    def find_first(self, network: Network) -> None:
        """Finds the layers that no adapter's output reaches: their input asks for no gradient when all adapters do."""
        self.put([value.requires_grad_() for value in self.fresh(1)])
        seen: dict[str, bool] = {}
        modules = dict(network.model.named_modules())
        hooks = [
            modules[layer.name].register_forward_pre_hook(partial(_note_gradient, seen, layer.name))
            for layer in self.layers
        ]
        network.forward_two_tokens()
        for hook in hooks:
            hook.remove()
        self.put(None)
        for layer in self.layers:
            layer.first = not seen.get(layer.name, True)

    def fresh(self, probes: int) -> list[Float[Tensor, "{probes} ..."]]:
        """Start values for N probes: first A (N, r, in), then B (N, out, r) of each layer."""
        values: list[Tensor] = []
        for layer in self.layers:
            values.append(layer.start.expand(probes, -1, -1).clone())
            values.append(layer.start.new_zeros(probes, layer.out, layer.start.shape[0]))
        return values

    def put(self, values: list[Tensor] | None) -> None:
        """Puts adapters in (as :meth:`fresh` orders them), or takes them out."""
        for index, layer in enumerate(self.layers):
            layer.down, layer.up = (None, None) if values is None else values[2 * index : 2 * index + 2]

    def pick(self, values: list[Tensor], probe: int) -> dict[str, Tensor]:
        """One probe's adapters under peft's names."""
        names = (f"{_PREFIX}{layer.name}.lora_{which}.default.weight" for layer in self.layers for which in "AB")
        return {name: value[probe].detach().clone() for name, value in zip(names, values, strict=True)}

    def stack(self, deltas: list[Mapping[str, Tensor]]) -> list[Tensor]:
        """The reverse of :meth:`pick` for several probes."""
        names = [f"{_PREFIX}{layer.name}.lora_{which}.default.weight" for layer in self.layers for which in "AB"]
        return [torch.stack([delta[name] for delta in deltas]).to(self.layers[0].start) for name in names]

    def update_norms(self, values: list[Float[Tensor, "N ..."]]) -> dict[str, Float64[Tensor, " N"]]:
        """For each adapted weight the Frobenius norms of alpha / r * B A."""
        norms: dict[str, Tensor] = {}
        for index, layer in enumerate(self.layers):
            norms[layer.name + ".weight"] = layer.scale * product_norms(*values[2 * index : 2 * index + 2])
        return norms


# What peft makes of a model takes longer than a small batch, and the next block of probes wants the same.
_KNOWN: WeakKeyDictionary[nn.Module, dict[object, list[BatchedLoraLayer]]] = WeakKeyDictionary()


def _layers_of(base: Base, recipe: Recipe, seed: int) -> list[BatchedLoraLayer]:
    """The layers that peft adapts, without anybody's adapters; the copy that it works on shares the base's weights."""
    copied = shared_copy(base.model, getattr(torch, recipe.dtype))
    model, trained = trainable_copy(base, recipe, seed, copied)
    known: set[str] = set()
    layers: list[BatchedLoraLayer] = []
    for name, module in model.named_modules():
        if not isinstance(module, LoraLayer):
            continue
        inner = module.get_base_layer()
        if type(module) is not PeftLinear or type(inner) not in LINEAR:
            found = f"LoRA on {name.removeprefix(_PREFIX)}, a {type(inner).__name__} in a {type(module).__name__}"
            raise Unsupported("recipe.adapter.targets", found, "Linear or Conv1D layers")
        down, up = f"{name}.lora_A.default.weight", f"{name}.lora_B.default.weight"
        known |= {down, up}
        scale = cast("Any", module).scaling["default"]
        start = trained[down].detach().clone()
        layers.append(BatchedLoraLayer(name.removeprefix(_PREFIX), scale, start, trained[up].shape[0]))
    if set(trained) != known:
        raise Unsupported(
            "recipe.adapter", f"trainable parameters {sorted(set(trained) - known)[:3]}", "LoRA's A and B alone"
        )
    return layers


def _note_gradient(seen: dict[str, bool], name: str, _: nn.Module, args: tuple[Tensor, ...]) -> None:
    if args[0].dim() > 2 and args[0].shape[0] != 1:
        raise Unsupported(
            "recipe.adapter.targets", f"{name}, where texts do not come first", "texts before their tokens"
        )
    seen[name] = name in seen or args[0].requires_grad  # one that is run twice makes two things of a batch
