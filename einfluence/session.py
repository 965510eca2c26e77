"""Bases with their weights, as a process holds them."""

from __future__ import annotations

import os
import threading
from functools import lru_cache

from einfluence.models.base import Base, BaseInfo

LOADED = 2  # bases that a process holds
SMALL = 20_000_000  # parameters of a base that one thread serves best

_loading = threading.Lock()


def loaded_base(base: BaseInfo, trust_remote_code: bool, threads: int | None = None) -> Base:
    """A base with its weights, loaded once in each process, and torch's threads set for it.

    Args:
        base: From :func:`find_base`.
        trust_remote_code: Whether the model's own Python files may be run.
        threads: Most threads that torch may use; None takes all cores. A small base is always given one.
    """
    import torch

    with _loading:  # two threads that start together share one copy
        loaded = _load_once(base, trust_remote_code)
    # Threads of a small network wait for each other longer than they work: on a busy machine ten times over.
    small = sum(parameter.numel() for parameter in loaded.model.parameters()) < SMALL
    torch.set_num_threads(1 if small else threads or os.cpu_count() or 1)
    return loaded


@lru_cache(maxsize=LOADED)
def _load_once(base: BaseInfo, trust_remote_code: bool) -> Base:
    from einfluence.bases.load import load_base

    return load_base(base, trust_remote_code=trust_remote_code)
