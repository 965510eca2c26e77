"""How much is computed and held at once, from the memory of the machine or the device."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from einfluence.errors import InputError
from einfluence.spec import byte_count

_LIMIT = Path("/sys/fs/cgroup/memory.max")


def memory_budget(device: torch.device) -> int:
    """Bytes of the device, or what the environment variable EINFLUENCE_MEMORY says, e.g. ``8GB``.

    It is the machine's size and not what is free at the moment, so that batch sizes, and with them the last bits of
    every number, are the same on every run.

    Raises:
        InputError: When the variable is no size.
    """
    setting = os.environ.get("EINFLUENCE_MEMORY")
    if setting:
        try:
            return byte_count(setting)
        except ValueError as error:
            raise InputError("EINFLUENCE_MEMORY", repr(setting), "a size such as 8GB") from error
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    if not hasattr(os, "sysconf"):
        return 8_000_000_000
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _LIMIT.read_text().strip() if _LIMIT.is_file() else "max"
    return min(total, int(limit)) if limit.isdecimal() else total


def held_bytes(model: nn.Module, itemsize: int | None = None) -> int:
    """Bytes of a model's parameters and buffers, as which weights that stay in 4 bits are held.

    Args:
        model: The model.
        itemsize: Bytes of a number, where the model is to be in another dtype; codes of 4 bits stay as they are.
    """
    parameters = sum(value.numel() * (itemsize or value.element_size()) for value in model.parameters())
    buffers = (
        value.numel() * (itemsize if itemsize and value.is_floating_point() else value.element_size())
        for value in model.buffers()
    )
    return parameters + sum(buffers)


@dataclass(frozen=True)
class Sizes:
    """How much goes through the network at once. They depend on shapes alone, so that a shard repeats bit for bit.

    Args:
        train: Positions in a training batch.
        score: Positions in an evaluation batch.
        window: Probes whose trained parameters are held at once.
        alone: Positions in a block of queries from which on it meets one probe at a time.
    """

    train: int = 2048
    score: int = 1024
    window: int = 64
    alone: int = 1 << 40


def default_sizes(model: nn.Module, numbers: int, most: int) -> Sizes:
    """Batch sizes for a device.

    Args:
        model: What is trained, on its device. A GPU takes larger batches.
        numbers: What is trained and held for one probe.
        most: Probes held at once, where memory allows; on a GPU four times as many.
    """
    device = next(model.parameters()).device
    each = 24 * max(numbers, 1)  # in float32: weight, gradient, two moments, two copies
    budget = memory_budget(device)
    if device.type == "cpu":
        return Sizes(window=max(min(budget // 8 // each, most), 1))
    room = (budget - held_bytes(model)) // 2
    return Sizes(8192, 65536, max(min(room // each, 4 * most), 1))
