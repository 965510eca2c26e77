"""Runners on this machine: in this process, in threads of it, and in processes beside it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from typing import Any, Self

from einfluence.compute import Done, compute
from einfluence.errors import InputError
from einfluence.session import Session, session_here
from einfluence.shards import Job


class Later:
    """A shard that is computed when its result is asked for."""

    def __init__(self, act: Callable[[], Done]) -> None:
        self._act = act

    def result(self) -> Done:
        """Computes it; raises what it ends with."""
        return self._act()


class Inline:
    """One shard after the other in this process."""

    slots = 1

    def __init__(self, session: Session, on_probe: Callable[[], None] = lambda: None) -> None:
        self._compute = partial(compute, session=session, on_probe=on_probe)

    def submit(self, job: Job) -> Later:
        """Computes it when it is waited for."""
        return Later(partial(self._compute, job))

    def died(self, error: Exception) -> bool:
        """Never: whoever could hear it would have died too."""
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        pass


class Threads:
    """Threads of this process: shards take turns at the model, and only reading and writing overlap."""

    def __init__(self, session: Session, workers: int, on_probe: Callable[[], None] = lambda: None) -> None:
        self.slots = workers
        self._compute = partial(compute, session=session, on_probe=on_probe)

    def submit(self, job: Job) -> Future[Done]:
        """Hands it to the next free thread."""
        return self._pool.submit(self._compute, job)

    def died(self, error: Exception) -> bool:
        """Never: whoever could hear it would have died too."""
        return False

    def __enter__(self) -> Self:
        self._pool = ThreadPoolExecutor(self.slots)
        return self

    def __exit__(self, *error: Any) -> None:
        self._pool.shutdown(cancel_futures=True)


class Processes:
    """Processes on this machine, each with a session of its own and its share of the cores."""

    def __init__(self, workers: int, device: str = "auto") -> None:
        self.slots, self._device = workers, device

    def submit(self, job: Job) -> Future[Done]:
        """Hands it to the next free process."""
        return self._pool.submit(compute_here, job, self._device, threads_each(self.slots))

    def died(self, error: Exception) -> bool:
        """A process that is gone takes the whole pool with it."""
        return isinstance(error, BrokenExecutor)

    def __enter__(self) -> Self:
        self._pool = ProcessPoolExecutor(self.slots, multiprocessing.get_context("spawn"), _live_with_parent)
        try:
            self._pool.submit(os.getpid).result()  # what cannot even start is no shard's fault
        except BrokenExecutor as error:
            fix = "A script needs `if __name__ == '__main__':` around what it does: its processes import it"
            raise InputError("runner", "processes that end when they start", "processes that start", fix) from error
        return self

    def __exit__(self, *error: Any) -> None:
        running = list((self._pool._processes or {}).values())  # pyright: ignore[reportPrivateUsage]
        if any(error):
            for process in running:  # what they have committed is kept; nobody waits for the rest
                process.kill()
        self._pool.shutdown(cancel_futures=True)


def compute_here(job: Job, device: str, threads: int | None) -> Done:
    """Computes a shard in the session of this process: what workers of pools and clusters call."""
    return compute(job, session_here(device, threads))


def threads_each(workers: int) -> int:
    """Torch's threads in each of several workers: together as many as there are cores."""
    return max(1, (os.cpu_count() or 1) // max(1, workers))


def _live_with_parent() -> None:
    """A worker ends with the process that started it, however that ends; and only that one hears a Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
