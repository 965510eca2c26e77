"""What one training trained, left in the weights of a plain model: it reads many queries without further products."""

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
from einfluence.engine.precise import doubled
from einfluence.engine.structure import shared_copy

ADAPTER = "default"


class Adapted(NamedTuple):
    """A product with an adapter; all tensors are those that :meth:`Adapters.merge` writes to, or the base's.

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


class Parameters:
    """Parameters that are trained themselves, each written over that of the base; of tied ones there is one.

    Args:
        origin: The base's model; nothing of it is changed.
        start: Their values before training, by name.
    """

    adapted: Sequence[Adapted] = ()

    def __init__(self, origin: nn.Module, start: Mapping[str, Tensor]) -> None:
        self._origin, self._start = origin, start

    @cached_property
    def plain(self) -> nn.Module:
        """A copy of the base, which shares its memory but for what is trained."""
        plain = shared_copy(self._origin, next(iter(self._start.values())).dtype)
        for name, value in plain.named_parameters():
            if name in self._start:
                value.data = value.detach().clone()  # the parameter itself stays, whoever else of the model holds it
        return plain

    @cached_property
    def _trained(self) -> dict[str, nn.Parameter]:
        """The parameters of :attr:`plain` that are trained, by name."""
        return {name: value for name, value in self.plain.named_parameters() if name in self._start}

    @property
    def written(self) -> Sequence[Tensor]:
        """The parameters that are trained."""
        return list(self._trained.values())

    @torch.no_grad()
    def merge(self, values: Mapping[str, Tensor]) -> None:
        """Writes these values over those of :attr:`plain`."""
        for name, value in self._trained.items():
            value.copy_(values[name])

    def changes(self, values: Mapping[str, Float[Tensor, "N ..."]]) -> Iterator[tuple[str, Float[Tensor, " N"], float]]:
        """Of each parameter its name, the norms of what N trainings added to it, and its own."""
        for name, start in self._start.items():
            yield name, doubled(torch.stack([(each - start).norm() for each in values[name]])), start.norm().item()


class Adapters:
    """LoRA adapters, merged into the weights of the base that they are beside.

    Args:
        origin: The base's model; nothing of it is changed.
        layers: The adapters of a copy, by name.
        trained: The trained parameters of the copy by name; :meth:`merge` writes to them.
    """

    written: Sequence[Tensor] = ()

    def __init__(self, origin: nn.Module, layers: Mapping[str, Any], trained: Mapping[str, nn.Parameter]) -> None:
        self._origin, self._layers, self._trained = origin, layers, trained

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
    def adapted(self) -> Sequence[Adapted]:
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


Merging = Adapters | Parameters
"""What leaves a training in the weights of a plain model, all that changes there being `adapted` or `written`."""


def merging(
    origin: nn.Module, model: nn.Module, trained: Mapping[str, nn.Parameter], start: Mapping[str, Tensor]
) -> Merging | None:
    """What leaves trained parameters in a plain model; None where they cannot be left there.

    Args:
        origin: The base's model; nothing of it is changed.
        model: A copy, with adapters where there are some.
        trained: Its trained parameters by name; adapters are written to.
        start: Their values before training.
    """
    layers: dict[str, Any] = {name: each for name, each in model.named_modules() if isinstance(each, LoraLayer)}
    if layers:
        return Adapters(origin, layers, trained) if _mergeable(model, list(layers.values())) else None
    exact = {value.dtype for value in start.values()} <= {torch.float32, torch.float64}
    return Parameters(origin, start) if exact else None


def _mergeable(model: nn.Module, layers: Sequence[LoraLayer]) -> bool:
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
