"""A Dask cluster: one that runs, or one on this machine for as long as it is needed."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from importlib import import_module
from typing import Any, Self

from einfluence.errors import InputError
from einfluence.loopback import ANSWER, listening
from einfluence.runners.local import compute_here, threads_each
from einfluence.shards import Job

DEATHS = ("KilledWorker", "CommClosedError")


class Dask:
    """Workers of a Dask cluster.

    Where some announce GPUs (``dask worker --resources GPU=1``), each shard takes one, unless the device is the CPU.

    Args:
        workers: How many, of a cluster on this machine.
        device: Of each worker.
        address: ``host:8786`` of a scheduler that runs, with or without ``tcp://``; None starts a cluster.
    """

    def __init__(self, workers: int, device: str = "auto", address: str | None = None) -> None:
        self.slots, self._device, self._address = workers, device, address

    @staticmethod
    def check() -> None:
        """Refuses Dask where it is not installed.

        Raises:
            InputError: When it is not.
        """
        if importlib.util.find_spec("distributed") is None:
            fix = "pip install 'einfluence[dask]'"
            raise InputError("runner", "dask, which is not installed", "an installed runner", fix)

    @staticmethod
    def reach(address: str) -> None:
        """Refuses an address where no scheduler is.

        Raises:
            InputError: When nothing listens there.
        """
        listening("dask", address, "a Dask scheduler", 8786)

    def submit(self, job: Job) -> Any:
        """Hands it to the scheduler."""
        threads = None if self._address else threads_each(self.slots)
        return self._client.submit(
            compute_here, job, self._device, threads, pure=False, resources={"GPU": 1} if self._on_gpus else None
        )

    def died(self, error: Exception) -> bool:
        """By the names of Dask's errors."""
        return type(error).__name__ in DEATHS

    def __enter__(self) -> Self:
        distributed: Any = import_module("distributed")
        with ExitStack() as stack:
            if self._address:
                self.reach(self._address)
                cluster: Any = _url(self._address)
            else:
                local = {"threads_per_worker": 1, "dashboard_address": None, "host": "127.0.0.1"}
                cluster = stack.enter_context(distributed.LocalCluster(n_workers=self.slots, **local))
            self._client = stack.enter_context(distributed.Client(cluster, timeout=ANSWER))
            threads, gpus = threads_and_gpus(self._client.scheduler_info(n_workers=-1)["workers"].values())
            self._on_gpus = self._device != "cpu" and gpus > 0
            self.slots = (gpus if self._on_gpus else threads) or 1
            self._open = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._open.close()


def threads_and_gpus(workers: Iterable[Mapping[str, Any]]) -> tuple[int, int]:
    """How many tasks workers compute at once, and how many that take a GPU of those that they announced.

    Args:
        workers: As the scheduler knows them.
    """
    both = [(worker["nthreads"], int(worker.get("resources", {}).get("GPU", 0))) for worker in workers]
    return sum(threads for threads, _ in both), sum(min(each) for each in both)


def _url(address: str) -> str:
    return address if "://" in address else f"tcp://{address}"
