"""Adapters merged into the weights that they stand beside: one training reads many queries without further products."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from peft.tuners.lora import Linear, LoraLayer
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

ADAPTER = "default"


class Merging:
    """The LoRA adapters of a model, and the weights that they are merged into.

    Args:
        model: A model with adapters.
        trained: Its trained parameters by name; :meth:`weights` writes to them.
    """

    def __init__(self, model: nn.Module, trained: Mapping[str, nn.Parameter]) -> None:
        self.trained = trained
        self.layers: dict[str, Any] = {
            name: each for name, each in model.named_modules() if isinstance(each, LoraLayer)
        }
        self.possible = bool(self.layers) and _possible(model, list(self.layers.values()))

    @torch.no_grad()
    def weights(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights with adapters of these values in them, by their names in the model."""
        for name, value in values.items():
            self.trained[name].copy_(value)
        return {
            f"{name}.base_layer.weight": layer.get_base_layer().weight + layer.get_delta_weight(ADAPTER)
            for name, layer in self.layers.items()
        }

    @contextmanager
    def aside(self) -> Generator[None]:
        """Leaves the adapters out of whatever the model computes meanwhile."""
        for layer in self.layers.values():
            # `enable_adapters` would also change which parameters have gradients
            layer._disable_adapters = True  # pyright: ignore[reportPrivateUsage]
        try:
            yield
        finally:
            for layer in self.layers.values():
                layer._disable_adapters = False  # pyright: ignore[reportPrivateUsage]


def _possible(model: nn.Module, layers: list[LoraLayer]) -> bool:
    """Whether all adapters are beside plain products with weights of their own, that hold what they add."""
    seen: dict[int, int] = {}
    for _, value in model.named_parameters(remove_duplicate=False):
        seen[id(value)] = seen.get(id(value), 0) + 1
    return all(
        type(layer) is Linear
        and type(inner := layer.get_base_layer()) in (nn.Linear, Conv1D)
        and seen[id(inner.weight)] == 1
        and inner.weight.dtype in (torch.float32, torch.float64)
        for layer in layers
    )
