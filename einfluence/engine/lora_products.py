"""A linear layer with the adapters of many trainings: one product of the base, and what each adapter adds, in place.

What peft writes as a sum of modules takes, under ``vmap``, a pass over memory for each of the bias, the scaling and the
sum, in both directions; and its gradients lie otherwise than the factors do.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from peft.tuners.lora import Linear
from torch import Tensor, nn
from torch._C._functorch import is_batchedtensor

from einfluence.engine.merged import ADAPTER
from einfluence.engine.operations import ONEDNN_LINEAR, by_onednn


def make_quick(model: nn.Module) -> None:
    """Has the linear layers of a model with LoRA computed so, where peft would do no more than that."""
    for module in model.modules():
        if type(module) is Linear and _plain(module):
            some: Any = module
            some.forward = partial(_forward, module, some.forward)


def _plain(layer: Any) -> bool:
    inner, alone = layer.get_base_layer(), list(layer.lora_A) == [ADAPTER] == list(layer.active_adapters)
    sides = [side[ADAPTER] for side in (layer.lora_A, layer.lora_B)] if alone else []
    return (
        alone
        and type(inner) is nn.Linear
        and not (layer.fan_in_fan_out or layer.merged or layer.disable_adapters or ADAPTER in layer.lora_variant)
        and type(layer.lora_dropout[ADAPTER]) is nn.Identity
        and all(side.bias is None and side.weight.dtype == inner.weight.dtype for side in sides)
        and not any(parameter.requires_grad for parameter in inner.parameters())
    )


def _forward(layer: Any, alone: Callable[..., Tensor], x: Float[Tensor, "*any in"]) -> Float[Tensor, "*any out"]:
    inner, down, up = layer.get_base_layer(), layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
    if not (is_batchedtensor(down) or is_batchedtensor(up)):
        return alone(x)
    found: Any = LoraProduct.apply(x, inner.weight, inner.bias, down, up, layer.scaling[ADAPTER])
    return found[0]


class LoraProduct(torch.autograd.Function):
    """``x @ weight.T + bias + scaling * x @ down.T @ up.T`` for N trainings; of the base nothing is learnt.

    Shapes: x (N, *any, in), or (1, *any, in) where all read the same; weight (out, in); bias (out); down (N, r, in);
    up (N, out, r). Under ``vmap`` all without N.
    """

    @staticmethod
    def forward(
        x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scaling: float
    ) -> tuple[Tensor, Tensor]:
        """What comes out, and what is between the factors."""
        rows, n = x.reshape(len(x), -1, x.shape[-1]), len(down)
        low, plain = rows @ down.mT, _product(rows, weight, bias)
        if len(plain) == n:
            out = plain.baddbmm_(low, up.mT, alpha=scaling)
        else:
            out = torch.baddbmm(plain.expand(n, *plain.shape[1:]), low, up.mT, alpha=scaling)
        return out.view(n, *x.shape[1:-1], len(weight)), low

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keeps what the backward pass takes."""
        x, weight, _, down, up, ctx.scaling = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(x, weight, down, up, output[1])

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        """Gradients of x and of the factors; they can be differentiated again."""
        x, weight, down, up, low = ctx.saved_tensors
        rows = x.reshape(len(x), -1, x.shape[-1])
        if torch.is_grad_enabled():
            low = rows @ down.mT
        g = grad_outputs[0].reshape(len(down), -1, len(weight)).contiguous()
        inner = (g @ up) * ctx.scaling
        found = None
        if ctx.needs_input_grad[0]:
            found = (g.flatten(0, 1) @ weight).view(*g.shape[:2], -1).baddbmm_(inner, down)
            found = (found if len(rows) == len(down) else found.sum(0)).reshape(x.shape)
        of_down = inner.mT @ rows if ctx.needs_input_grad[3] else None
        of_up = g.mT @ (low * ctx.scaling) if ctx.needs_input_grad[4] else None
        return found, None, None, of_down, of_up, None

    @staticmethod
    def vmap(info: Any, in_dims: Any, *given: Any) -> Any:
        """All trainings at once; the base's product of what is the same for all of them is computed once."""
        x, weight, bias, down, up, scaling = given
        if in_dims[1] is not None or in_dims[2] is not None:
            raise ValueError("a base that differs from training to training")
        x = x[None] if in_dims[0] is None else x.movedim(in_dims[0], 0)
        down, up = (
            some.expand(info.batch_size, *some.shape) if dim is None else some.movedim(dim, 0)
            for some, dim in zip((down, up), in_dims[3:5], strict=True)
        )
        return LoraProduct.apply(x, weight, bias, down, up, scaling), (0, 0)


def _product(x: Float[Tensor, "_ rows in"], weight: Tensor, bias: Tensor | None) -> Float[Tensor, "_ rows out"]:
    """By oneDNN where it can be, which adds the bias on its way."""
    if by_onednn(x, weight):
        return ONEDNN_LINEAR(x, weight, bias, "none", [], "")
    return F.linear(x, weight, bias)
