"""Ray: a cluster that runs, or Ray on this machine for as long as it is needed."""

from __future__ import annotations

import importlib.util
import os
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import ExitStack
from importlib import import_module
from queue import SimpleQueue
from typing import Any, Self

from einfluence.compute import Done
from einfluence.errors import InputError
from einfluence.loopback import listening
from einfluence.runners.local import compute_here, threads_each
from einfluence.shards import Job

DEATHS = ("ActorDiedError", "ActorUnavailableError", "NodeDiedError", "OutOfMemoryError", "LocalRayletDiedError")
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent outside
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # GPUs stay visible: a worker chooses its own
}
OBJECTS = 100_000_000  # bytes of Ray's shared memory on this machine: names of cells and counts are all that it carries


class Worker:
    """An actor: a process that lasts, and with it its session and the bases that this holds."""

    def ready(self) -> None:
        """Answers once it lives."""

    def compute(self, job: Job, device: str, threads: int) -> Done:
        """Computes a shard in the session of its process."""
        return compute_here(job, device, threads)


class Ray:
    """Actors of Ray, one a slot. Where there are GPUs, each holds one that Ray gives it, unless a device is named.

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

    @staticmethod
    def reach(address: str) -> None:
        """Refuses an address where no cluster is.

        Raises:
            InputError: When nothing listens there.
        """
        listening("ray", address, "Ray's client server", 10001)

    def submit(self, job: Job) -> Future[Done]:
        """Hands it to the next free actor."""
        return self._threads.submit(self._compute, job)

    def _compute(self, job: Job) -> Done:
        """Has a free actor compute it; raises what that ended with, not Ray's account of it with a traceback in it."""
        worker = self._free.get()
        if worker is None:
            raise CancelledError
        try:
            done = self._ray.get(worker.compute.remote(job, self._device, threads_each(self.slots)))
        except self._ray.exceptions.RayTaskError as error:
            self._free.put(worker)
            if isinstance(error.cause, Exception):
                raise error.cause from None
            raise
        except Exception:
            self._ray.kill(worker)  # one that is merely out of reach would keep its GPU
            self._start()
            raise
        self._free.put(worker)
        return done

    def _start(self) -> None:
        """An actor that is free once it lives: where there is no room for it, the others take all shards."""
        worker = self._actor.remote()
        self._workers.append(worker)

        def freed(_: object) -> None:
            self._free.put(worker)

        worker.ready.remote().future().add_done_callback(freed)

    def died(self, error: Exception) -> bool:
        """By the names of Ray's errors."""
        return type(error).__name__ in DEATHS

    def __enter__(self) -> Self:
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        self._ray: Any = import_module("ray")
        if self._address:
            self.reach(self._address)
        here: dict[str, Any] = {"num_cpus": self.slots, "include_dashboard": False, "object_store_memory": OBJECTS}
        with ExitStack() as stack:
            self._ray.init(**({"address": f"ray://{self._address}"} if self._address else here))
            stack.callback(self._ray.shutdown)
            there = self._ray.cluster_resources()
            gpus = int(there.get("GPU", 0)) if self._device in ("auto", "cuda") else 0  # only its own would be visible
            if gpus or self._address:
                self.slots = gpus or max(1, int(there.get("CPU", 1)))
            asked = {"num_gpus": 1, "num_cpus": 0} if gpus else {"num_cpus": 1}
            self._actor: Any = self._ray.remote(**asked)(Worker)
            self._free, self._workers = SimpleQueue[Any](), list[Any]()
            for _ in range(self.slots):
                self._start()
            self._first_lives()
            self._threads = ThreadPoolExecutor(self.slots)
            self._open = stack.pop_all()
        return self

    def _first_lives(self) -> None:
        """Waits for an actor; what cannot even start is no shard's fault."""
        worker = self._free.get()
        self._free.put(worker)
        try:
            self._ray.get(worker.ready.remote())
        except self._ray.exceptions.RayActorError as error:
            fix = "Every node of the cluster needs einfluence, in the version that is here"
            found = f"actors of Ray that end when they start ({str(error).strip().splitlines()[-1]})"
            raise InputError("runner", found, "actors that start", fix) from error

    def __exit__(self, *error: Any) -> None:
        with self._open:
            self._threads.shutdown(wait=False, cancel_futures=True)
            for worker in self._workers:  # what they have committed is kept; nobody waits for the rest
                self._ray.kill(worker)
            for _ in range(self.slots):
                self._free.put(None)  # for who waits for an actor that never came
            self._threads.shutdown()
