"""Where blocks are computed: in this process, in threads, in processes, on a Dask cluster, on Ray.

Whatever the runner, a shard is committed to the store by whoever computed it, and only its counts come back. Blocks
of a shard that failed are tried again each for itself, at last alone; what fails there too is recorded as failed.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, Literal

from prefect import get_run_logger
from prefect.context import FlowRunContext
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner

from einfluence.compute import Done, record_failure
from einfluence.errors import InputError
from einfluence.plan import Plan
from einfluence.shards import Job, Shards
from tasks import progress
from tasks.artifacts import ProgressBar
from tasks.steps import measure_block

Runner = Literal["inline", "threads", "processes", "dask", "ray"]
AHEAD = 2  # shards handed out for each worker, so that none waits and most are cut when their pace is known
POOLS = 2  # tries in parallel before the blocks that are left are tried one by one
DEATHS = ("KilledWorker", "CommClosedError", "WorkerCrashedError", "NodeDiedError", "OutOfMemoryError")  # Dask's, Ray's


def measure_blocks(todo: Plan, runner: Runner, workers: int, dask_address: str | None) -> list[Done]:
    """Computes what a plan found missing, in shards; returns what each did, in no particular order.

    Args:
        todo: The plan.
        runner: Where.
        workers: How many at once; without meaning for ``inline`` and a Dask cluster that is there already.
        dask_address: A scheduler, e.g. ``tcp://127.0.0.1:8786``; None starts a cluster on this machine.

    Raises:
        InputError: When a sample does not fit the base or the store cannot be written; finished shards are kept.
    """
    bar = ProgressBar(len(todo.jobs))
    near = runner in ("inline", "threads")  # where the meter hears of each probe
    done: list[Done] = []

    def count(job: Job, one: Done) -> None:
        done.append(one)
        bar.advance(len(job.blocks))
        progress.meter.advance(0 if near else len(job.probe_ids))

    left, fixed = list(todo.jobs), todo.fixed
    with nullcontext() if runner == "inline" else _this_runs_server():
        for _ in range(POOLS):  # where a worker dies, a process pool takes its other shards with it: they get a new one
            lost: list[Job] = []
            for job, found in _computed(left, fixed, runner, workers, dask_address):
                if isinstance(found, Done):
                    count(job, found)
                elif _worker_died(found) or len(job.blocks) > 1:
                    get_run_logger().warning("%s: %s; it is tried again", job.label, _told(found))
                    lost += job.alone()
                else:
                    count(job, _failed(job, found))
            left, fixed = lost, True
        for job, one in _one_by_one(left):
            count(job, one)
    return done


def _computed(
    jobs: Sequence[Job], fixed: bool, runner: Runner, workers: int, dask_address: str | None
) -> Iterator[tuple[Job, Done | Exception]]:
    if runner == "inline":
        shards = Shards(jobs, fixed=fixed)
        while (job := shards.take()) is not None:
            yield job, _learnt(shards, job, partial(measure_block, job))
    elif jobs:
        threads = _threads(1 if runner == "threads" else workers)
        with _pool(runner, workers, dask_address) as pool:
            slots = sum(pool.client.nthreads().values()) if dask_address else workers
            yield from _spread(Shards(jobs, slots, fixed=fixed), pool, AHEAD * slots, threads)


def _spread(shards: Shards, pool: Any, ahead: int, threads: int) -> Iterator[tuple[Job, Done | Exception]]:
    going: deque[tuple[Job, Any]] = deque()
    while True:
        while len(going) < ahead and (job := shards.take()) is not None:
            going.append((job, _tried(partial(pool.submit, measure_block, {"job": job, "threads": threads}))))
        if not going:
            return
        job, future = going.popleft()
        yield job, future if isinstance(future, Exception) else _learnt(shards, job, future.result)


def _learnt(shards: Shards, job: Job, result: Callable[[], Done]) -> Done | Exception:
    found = _tried(result)
    if isinstance(found, Done):
        shards.took(job, found.seconds)
    return found


def _tried(act: Callable[[], Any]) -> Any:
    """What an act returns, or the error that it ends with; a wrong input or a store that is full ends the run."""
    try:
        return act()
    except InputError:
        raise
    except Exception as error:
        return error


def _one_by_one(jobs: Sequence[Job]) -> Iterator[tuple[Job, Done]]:
    """One block at a time in one process, so that it is known which block kills its worker; that one has failed."""
    left = deque(jobs)
    while left:
        with ProcessPoolTaskRunner(max_workers=1) as pool:
            alive = True
            while left and alive:
                job = left.popleft()
                found = _tried(pool.submit(measure_block, {"job": job, "threads": _threads(1)}).result)
                alive = isinstance(found, Done)
                yield job, found if alive else _failed(job, found)


@contextmanager
def _this_runs_server() -> Generator[None]:
    """Workers talk to the server of this run; else each would start one, and leave it behind when it is killed."""
    context = FlowRunContext.get()
    if context is None:
        yield
        return
    with temporary_settings({PREFECT_API_URL: str(context.client.api_url).rstrip("/")}):
        yield


def _failed(job: Job, error: BaseException) -> Done:
    get_run_logger().error("%s failed: %s", job.label, _told(error))
    return record_failure(job, _told(error))


def _pool(runner: Runner, workers: int, dask_address: str | None) -> AbstractContextManager[Any]:
    if runner == "threads":
        return ThreadPoolTaskRunner(max_workers=workers)
    if runner == "processes":
        return ProcessPoolTaskRunner(max_workers=workers)
    try:
        if runner == "dask":
            from prefect_dask import DaskTaskRunner  # pyright: ignore[reportMissingImports]

            if dask_address:
                return DaskTaskRunner(address=dask_address)
            local = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": None, "host": "127.0.0.1"}
            return DaskTaskRunner(cluster_kwargs=local)
        from prefect_ray import RayTaskRunner  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        fix = f"pip install 'einfluence[{runner}]'"
        raise InputError("--runner", f"{runner}, which is not installed", "an installed runner", fix) from error
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent outside
    return RayTaskRunner(init_kwargs={"num_cpus": workers, "include_dashboard": False})


def _threads(workers: int) -> int:
    """Torch's threads in each worker: together as many as there are cores."""
    return max(1, (os.cpu_count() or 1) // max(1, workers))


def _worker_died(error: BaseException) -> bool:
    return isinstance(error, BrokenExecutor) or type(error).__name__ in DEATHS


def _told(error: BaseException) -> str:
    text = f"{type(error).__name__}: {error}".strip().splitlines()[0]
    return f"its worker died ({text})" if _worker_died(error) else text
