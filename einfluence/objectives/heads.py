"""Output layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def last_with(model: torch.nn.Module, classes: int) -> torch.nn.Module | None:
    """A model's last Linear module that gives one number a class; None where it has none."""
    import torch

    linear = (module for module in reversed([*model.modules()]) if isinstance(module, torch.nn.Linear))
    return next((module for module in linear if module.out_features == classes), None)


def last_linear(model: torch.nn.Module) -> torch.nn.Module | None:
    """A model's last Linear module, in the order in which they are defined; None where it has none."""
    import torch

    return next((module for module in reversed([*model.modules()]) if isinstance(module, torch.nn.Linear)), None)
