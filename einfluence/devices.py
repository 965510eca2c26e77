"""The device of a worker: the one that is named, or one of the machine's GPUs, so that workers take one each."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import BinaryIO

from einfluence.errors import InputError


def devices() -> list[str]:
    """What torch can compute on here: ``cpu``, then ``cuda:0``, ``cuda:1``, …, then ``mps``."""
    import torch

    gpus = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return ["cpu", *gpus, *(["mps"] if torch.backends.mps.is_available() else [])]


def chosen(wanted: str, there: Sequence[str], slot: int) -> str:
    """The device of the worker in a slot.

    Args:
        wanted: ``auto`` for a GPU of CUDA if there is one, else the CPU; ``cuda`` for any of the GPUs; or one by name.
        there: The devices that are there.
        slot: The worker's number on this machine, from 0: workers beyond the last GPU begin again with the first.

    Raises:
        InputError: When the device is not there.
    """
    gpus = [name for name in there if name.startswith("cuda:")]
    if wanted in ("auto", "cuda") and gpus:
        return gpus[slot % len(gpus)]
    named = "cpu" if wanted == "auto" else wanted
    if named not in there:
        raise InputError("device", repr(wanted), f"auto or one that is there: {', '.join(there)}")
    return named


def free_slot(folder: Path | None = None) -> tuple[int, BinaryIO]:
    """The lowest number that no other worker of this user has on this machine, and the lock that keeps it.

    The kernel frees it when the lock is closed or the process ends, however it does. Numbers count among workers to
    which the same GPUs are visible: clusters show each worker the GPUs in another order, its own first.

    Args:
        folder: Where the locks lie; by default a folder among the system's temporary files.
    """
    if folder is None:
        visible = hashlib.sha256(os.environ.get("CUDA_VISIBLE_DEVICES", "").encode()).hexdigest()[:16]
        folder = Path(tempfile.gettempdir()) / f"einfluence-workers-{os.getuid()}-{visible}"
    folder.mkdir(mode=0o700, exist_ok=True)
    for slot in count():
        lock = (folder / str(slot)).open("wb")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return slot, lock
        except BlockingIOError:
            lock.close()
    raise AssertionError  # count() has no end
