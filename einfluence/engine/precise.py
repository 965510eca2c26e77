"""Float64 where the device has it: Apple's GPUs (MPS) have none."""

from __future__ import annotations

import torch
from torch import Tensor

from einfluence.errors import InputError
from einfluence.models.base import Base
from einfluence.spec import Recipe


def has_float64(device: torch.device) -> bool:
    """Whether tensors on it can be of float64."""
    return device.type != "mps"


def doubled(values: Tensor) -> Tensor:
    """In float64, on its device or, where that has none, on the CPU."""
    return (values if has_float64(values.device) else values.cpu()).double()


def refuse_float64(base: Base, recipe: Recipe) -> None:
    """Refuses to train in float64 on a device that has none.

    Raises:
        InputError: When that is asked for.
    """
    device = next(base.model.parameters()).device
    if recipe.dtype == "float64" and not has_float64(device):
        found, fix = f"float64 on {device.type}, which has none", "or measure with `--device cpu`"
        raise InputError("recipe.dtype", found, "float32 or bfloat16", fix)
