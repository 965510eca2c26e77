"""Adapters merged into the weights that they stand beside: one training reads many queries without further products."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from peft.tuners.lora import Conv2d, Linear, LoraLayer
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from einfluence.engine.adapters import PREFIX, adapted_parameter, product_norms
from einfluence.engine.structure import shared_copy

ADAPTER = "default"


class Adapted(NamedTuple):
    """A product with an adapter; all tensors are those that :meth:`Merging.merge` writes to, or the base's.

    Args:
        merged: The weight with the adapter in it.
        weight: The weight without.
        down: The adapter's first factor.
        up: Its second.
        scaling: What their product is multiplied by.
    """

    merged: Tensor
    weight: Tensor
    down: Tensor
    up: Tensor
    scaling: float


class Merging:
    """The LoRA adapters of a model, and the base without them, whose weights they are merged into.

    Args:
        origin: The base's model; nothing of it is changed.
        model: A copy with adapters.
        trained: Its trained parameters by name; :meth:`merge` writes to them.
    """

    def __init__(self, origin: nn.Module, model: nn.Module, trained: Mapping[str, nn.Parameter]) -> None:
        self._origin, self._trained = origin, trained
        self._layers: dict[str, Any] = {
            name: each for name, each in model.named_modules() if isinstance(each, LoraLayer)
        }
        self.possible = bool(self._layers) and _possible(model, list(self._layers.values()))

    @cached_property
    def plain(self) -> nn.Module:
        """The base without adapters, which shares its memory but for the weights that adapters are merged into."""
        dtype = next(iter(self._layers.values())).get_base_layer().weight.dtype
        plain = shared_copy(self._origin, dtype)
        for name in self._layers:
            inner: Any = plain.get_submodule(name.removeprefix(PREFIX))
            own = inner.weight.detach().clone(memory_format=torch.contiguous_format)
            inner.weight = nn.Parameter(own, requires_grad=False)
        return plain

    @property
    def adapted(self) -> list[Adapted]:
        """The products that adapters are merged into."""
        return [
            Adapted(
                self.plain.get_submodule(name.removeprefix(PREFIX)).get_parameter("weight"),
                layer.get_base_layer().weight.detach(),
                layer.lora_A[ADAPTER].weight.detach(),
                layer.lora_B[ADAPTER].weight.detach(),
                layer.scaling[ADAPTER],
            )
            for name, layer in self._layers.items()
        ]

    @torch.no_grad()
    def merge(self, values: Mapping[str, Tensor]) -> None:
        """Leaves adapters of these values in the weights of :attr:`plain`."""
        for name, value in values.items():
            self._trained[name].copy_(value)
        for name, layer in self._layers.items():
            merged: Any = self.plain.get_submodule(name.removeprefix(PREFIX))
            into, weight = merged.weight.data, layer.get_base_layer().weight
            if getattr(layer, "fan_in_fan_out", False):
                into, weight = into.T, weight.T
            down, up = (side[ADAPTER].weight.flatten(1) for side in (layer.lora_A, layer.lora_B))
            torch.addmm(weight.flatten(1), up, down, alpha=layer.scaling[ADAPTER], out=into.flatten(1))

    def changes(self, values: Mapping[str, Float[Tensor, "N ..."]]) -> Iterator[tuple[str, Float[Tensor, " N"], float]]:
        """Of each parameter that is adapted its name, the norms of what N trainings added to it, and its own."""
        for name, layer in self._layers.items():
            if layer.lora_B[ADAPTER].weight.requires_grad:
                down, up = (values[f"{name}.{side}.{ADAPTER}.weight"].flatten(2) for side in ("lora_A", "lora_B"))
                own = layer.get_base_layer().weight.detach().norm().item()
                yield adapted_parameter(name, layer), layer.scaling[ADAPTER] * product_norms(down, up), own


def _possible(model: nn.Module, layers: Sequence[LoraLayer]) -> bool:
    """Whether all adapters are beside plain products with weights of their own, that hold what they add."""
    seen: dict[int, int] = {}
    for _, value in model.named_parameters(remove_duplicate=False):
        seen[id(value)] = seen.get(id(value), 0) + 1
    return all(
        _plain(layer, inner := layer.get_base_layer())
        and seen[id(inner.weight)] == 1
        and inner.weight.dtype in (torch.float32, torch.float64)
        for layer in layers
    )


def _plain(layer: LoraLayer, inner: Any) -> bool:
    if type(layer) is Conv2d:  # its first factor has neither the dilation nor the borders of what it is beside
        same = type(inner) is nn.Conv2d and inner.padding_mode == "zeros" and set(inner.dilation) == {1}
        return same and inner.groups == 1
    return type(layer) is Linear and type(inner) in (nn.Linear, Conv1D)
