"""How much memory something takes while it is computed."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

import torch

EVERY = 0.02  # seconds between two looks
_PAGES = Path("/proc/self/statm")


@dataclass
class Held:
    """What was held at most beyond what was held before, in bytes; None where the system does not tell.

    Of a device it is what torch has allotted there, else the memory of the whole process.
    """

    bytes: int | None = None


@contextmanager
def held(device: torch.device) -> Generator[Held]:
    """Watches the memory of a device, or of this process; what is found is there at the end."""
    found = Held()
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        yield found
        found.bytes = max(torch.cuda.max_memory_allocated(device) - before, 0)
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if device.type == "cpu" and _PAGES.exists() else None
    if trim is None:
        yield found
        return
    trim(0)  # what was freed before and is still held would be used again, and not be seen
    before, ended, most = _resident(), Event(), [0]

    def look() -> None:
        while not ended.wait(EVERY):
            most[0] = max(most[0], _resident())

    watcher = Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield found
    finally:
        ended.set()
        watcher.join()
        found.bytes = max(max(most[0], _resident()) - before, 0)


def _resident() -> int:
    return int(_PAGES.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
