"""How much memory the engines may plan with."""

from __future__ import annotations

import os
from pathlib import Path

import torch

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
