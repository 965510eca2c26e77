"""What a worker keeps from shard to shard: the bases that it loaded, its device and its share of threads."""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

from einfluence.devices import chosen, devices, free_slot
from einfluence.models.base import Base, BaseInfo
from einfluence.store.curations import Curation, curated_rows

BASES = 2  # that a session holds, the last ones used
CURATIONS = 2
SMALL = 20_000_000  # parameters of a base that one thread serves best


class Session:
    """A worker's own state. Several threads may share one: they load a base once, and take turns at computing.

    Args:
        device: As :func:`einfluence.devices.chosen` takes it.
        threads: Most threads that torch may use; None takes all cores. A small base is always given one.

    Raises:
        InputError: When the device is not there.
    """

    def __init__(self, device: str = "auto", threads: int | None = None) -> None:
        self._wanted, self._threads = device, threads
        self._bases: OrderedDict[tuple[BaseInfo, bool], Base] = OrderedDict()
        self._curations: OrderedDict[Path, Curation] = OrderedDict()
        self._loading = threading.Lock()  # two threads that start together share one copy
        self._computing = threading.Lock()  # engines change the model that they measure, and draw from one generator
        if device not in ("auto", "cpu"):
            _ = self.device

    @cached_property
    def device(self) -> str:
        """Where bases lie: a name that torch knows."""
        there, slot = devices(), 0
        if len(there) > 2:
            slot, lock = free_slot()
            weakref.finalize(self, lock.close)
        return chosen(self._wanted, there, slot)

    def base(self, info: BaseInfo, trust_remote_code: bool) -> Base:
        """A base with its weights.

        Args:
            info: From :func:`einfluence.bases.load.find_base`.
            trust_remote_code: Whether the model's own Python files may be run.

        Raises:
            InputError: When its files cannot be used.
        """
        from einfluence.bases.load import load_base
        from einfluence.engine.structure import changes_itself

        info, wanted = replace(info, gradient_checkpointing=False), info
        key = info, trust_remote_code
        with self._loading:
            if key not in self._bases:
                for other in [held for held in self._bases if held[0].base_id == info.base_id]:
                    del self._bases[other]  # the same in another dtype: a big one has no room beside it
                _make_room(self._bases, BASES)
                load = partial(load_base, trust_remote_code=trust_remote_code, device=self.device)
                base = load(info)
                if info.dtype != "float32" and changes_itself(base.model):  # what it changes itself to would be rounded
                    base = load(replace(info, dtype="float32"))
                self._bases[key] = base
            self._bases.move_to_end(key)
            held = self._bases[key]
        if not wanted.gradient_checkpointing:
            return held
        return replace(held, info=replace(held.info, gradient_checkpointing=True))  # however it is trained, it is one

    def curation(self, folder: Path) -> Curation:
        """As :func:`einfluence.store.curations.curated_rows`, read once."""
        with self._loading:
            if folder not in self._curations:
                _make_room(self._curations, CURATIONS)
                self._curations[folder] = curated_rows(folder)
            self._curations.move_to_end(folder)
            return self._curations[folder]

    @contextmanager
    def computing(self, base: Base) -> Generator[None]:
        """This thread alone computes now, on the session's device and with the threads that serve best."""
        import torch

        from einfluence.models.packed_linear import count_weights

        # Threads of a small network wait for each other longer than they work: on a busy machine ten times over.
        small = count_weights(base.model) < SMALL
        with self._computing, torch.cuda.device(self.device) if self.device.startswith("cuda") else nullcontext():
            torch.set_num_threads(1 if small else self._threads or os.cpu_count() or 1)
            yield


@cache
def session_here(device: str, threads: int | None) -> Session:
    """The session of this process: a pool's worker is given a function and its arguments, and nothing that lasts."""
    return Session(device, threads)


def _make_room(held: OrderedDict[Any, Any], most: int) -> None:
    while len(held) >= most:
        held.popitem(last=False)
