"""Pooling on a quarter of the values, and without a note of where each maximum was."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, reduce
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn


def pool_first(model: nn.Module) -> None:
    """ReLU then max-pooling is max-pooling then ReLU, number for number, on a quarter of the values."""
    for parent in model.modules():
        if type(parent) is not nn.Sequential:
            continue
        names = list(parent._modules)  # pyright: ignore[reportPrivateUsage]
        for first, second in zip(names, names[1:], strict=False):
            a, b = getattr(parent, first), getattr(parent, second)
            if type(a) is nn.ReLU and type(b) is nn.MaxPool2d and not b.return_indices:
                setattr(parent, first, b)
                setattr(parent, second, a)
    for module in model.modules():
        if type(module) is nn.MaxPool2d and not module.return_indices:
            cast("Any", module).forward = partial(_pooled, module, cast("Any", module.forward))


def _pooled(
    module: nn.MaxPool2d, forward: Callable[[Tensor], Tensor], x: Float[Tensor, "*batch height width"]
) -> Float[Tensor, "*batch out_height out_width"]:
    """Max-pooling; where no gradient is wanted and the windows tile the image, as a maximum of slices.

    torch's own also notes where each maximum was, which costs more than finding it.
    """
    k = module.kernel_size
    tiled = (module.stride, module.padding, module.dilation) == (k, 0, 1)
    if torch.is_grad_enabled() or not tiled or not isinstance(k, int) or x.shape[-2] % k or x.shape[-1] % k:
        return forward(x)
    rows = reduce(torch.maximum, [x[..., i::k, :] for i in range(k)])
    return reduce(torch.maximum, [rows[..., i::k] for i in range(k)])
