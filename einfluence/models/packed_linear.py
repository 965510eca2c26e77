"""A product with a weight that stays in 4 bits in memory: its numbers are made anew for each use, and dropped."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from einfluence.models.four_bit import Packed


class PackedLinear(nn.Linear):
    """As :class:`torch.nn.Linear` with the weight that a packed one stands for, which is no parameter.

    Args:
        packed: The weight (out, in).
        bias: The bias (out,).
    """

    def __init__(self, packed: Packed, bias: nn.Parameter | None) -> None:
        nn.Module.__init__(self)
        self.out_features, self.in_features = packed.shape
        self.block, self.bias = packed.block, bias
        self.register_buffer("codes", packed.codes)
        # As bits, so that a copy in another precision has the same scales.
        self.register_buffer("scales", packed.scales.view(torch.int32))
        self.register_buffer("values", packed.values.view(torch.int32))
        self.register_buffer("like", torch.empty(0), persistent=False)  # its dtype is the model's

    @property
    def weight(self) -> Float[Tensor, "out in"]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The numbers, in the model's dtype."""
        held: Any = self
        values, scales = held.values.view(torch.float32), held.scales.view(torch.float32)
        packed = Packed(held.codes, values, scales, self.block, (self.out_features, self.in_features))
        return packed.numbers().to(held.like.dtype)

    def forward(self, input: Float[Tensor, "... in"]) -> Float[Tensor, "... out"]:
        """The product; nothing of the weight is kept for the backward pass."""
        out: Any = _Product.apply(input, self)
        return out if self.bias is None else out + self.bias


def count_weights(model: nn.Module) -> int:
    """How many numbers a model's weights are, those that stay in 4 bits included."""
    packed = (module for module in model.modules() if isinstance(module, PackedLinear))
    weights = sum(module.in_features * module.out_features for module in packed)
    return weights + sum(parameter.numel() for parameter in model.parameters())


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: PackedLinear) -> Tensor:
        ctx.layer = layer
        return F.linear(x, layer.weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] @ ctx.layer.weight, None
