"""Ray: a cluster that runs, or Ray on this machine for as long as it is needed."""

from __future__ import annotations

import importlib.util
import os
from functools import partial
from importlib import import_module
from typing import Any, Self

from einfluence.compute import Done
from einfluence.errors import InputError
from einfluence.runners.local import Later, compute_here, threads_each
from einfluence.shards import Job

DEATHS = ("WorkerCrashedError", "NodeDiedError", "OutOfMemoryError", "LocalRayletDiedError")
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent outside
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # GPUs stay visible: a worker chooses its own
}


class Ray:
    """Workers of Ray.

    Where there are GPUs, each shard takes one that Ray gives it, unless a device is named.

    Args:
        workers: How many at once.
        device: Of each worker.
        address: ``host:10001`` of a cluster that runs; None starts Ray here.
    """

    def __init__(self, workers: int, device: str = "auto", address: str | None = None) -> None:
        self.slots, self._device, self._address = workers, device, address

    @staticmethod
    def check() -> None:
        """Refuses Ray where it is not installed.

        Raises:
            InputError: When it is not.
        """
        if importlib.util.find_spec("ray") is None:
            fix = "pip install 'einfluence[ray]'"
            raise InputError("runner", "ray, which is not installed", "an installed runner", fix)

    def submit(self, job: Job) -> Later:
        """Hands it to Ray."""
        return Later(partial(self._get, self._compute.remote(job, self._device, threads_each(self.slots))))

    def _get(self, promised: Any) -> Done:
        """The result of a task; raises what the task ended with, not Ray's account of it with a traceback in it."""
        try:
            return self._ray.get(promised)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, Exception):
                raise error.cause from None
            raise

    def died(self, error: Exception) -> bool:
        """By the names of Ray's errors."""
        return type(error).__name__ in DEATHS

    def __enter__(self) -> Self:
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        self._ray: Any = import_module("ray")
        here: dict[str, Any] = {"num_cpus": self.slots, "include_dashboard": False}
        self._ray.init(**({"address": f"ray://{self._address}"} if self._address else here))
        there = self._ray.cluster_resources()
        gpus = int(there.get("GPU", 0)) if self._device in ("auto", "cuda") else 0  # only its own would be visible
        if gpus or self._address:
            self.slots = gpus or max(1, int(there.get("CPU", 1)))
        # Ray ends a worker that had a GPU with its task: the next may be given another one.
        self._compute: Any = self._ray.remote(max_retries=0, num_gpus=1 if gpus else 0)(compute_here)
        return self

    def __exit__(self, *error: Any) -> None:
        self._ray.shutdown()
