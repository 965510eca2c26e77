"""Where blocks are computed: in this process, in threads, in processes, on a Dask cluster, on Ray.

Whatever the runner, a block is committed to the store by whoever computed it, and only its counts come back. A block
whose worker died is tried again, at last alone; what fails there too is recorded as failed.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal, cast

from prefect import get_run_logger
from prefect.context import FlowRunContext
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner

from einfluence import run as library
from einfluence.errors import InputError
from einfluence.run import Done, Job
from tasks import progress
from tasks.artifacts import ProgressBar
from tasks.steps import measure_block

Runner = Literal["inline", "threads", "processes", "dask", "ray"]
POOLS = 2  # tries in parallel before the blocks that are left are tried one by one
DEATHS = ("KilledWorker", "CommClosedError", "WorkerCrashedError", "NodeDiedError", "OutOfMemoryError")  # Dask's, Ray's


def measure_blocks(jobs: Sequence[Job], runner: Runner, workers: int, dask_address: str | None) -> list[Done]:
    """Computes all jobs; returns what each did, in no particular order.

    Args:
        jobs: The blocks of a plan.
        runner: Where.
        workers: How many at once; without meaning for ``inline`` and a Dask cluster that is there already.
        dask_address: A scheduler, e.g. ``tcp://127.0.0.1:8786``; None starts a cluster on this machine.

    Raises:
        InputError: When a sample does not fit the base or the store cannot be written; finished blocks are kept.
    """
    bar = ProgressBar(len(jobs))
    done: list[Done] = []
    if runner == "inline":
        for job in jobs:
            done.append(_inline(job))
            bar.advance()
        return done
    if not jobs:
        return done
    with _this_runs_server():
        return _pooled(jobs, runner, workers, dask_address, bar)


def _pooled(
    jobs: Sequence[Job], runner: Runner, workers: int, dask_address: str | None, bar: ProgressBar
) -> list[Done]:
    done: list[Done] = []
    near = runner == "threads"
    left = list(jobs)
    for _ in range(POOLS):  # where a worker dies, a process pool takes its other blocks with it: they get a new pool
        lost: list[Job] = []
        for job, found in _spread(left, _pool(runner, workers, dask_address), _threads(1 if near else workers)):
            if isinstance(found, BaseException) and _worker_died(found):
                get_run_logger().warning("%s: %s; it is tried again", job.label, _told(found))
                lost.append(job)
                continue
            done.append(found if isinstance(found, Done) else _failed(job, found))
            bar.advance()
            progress.meter.advance(0 if near else len(job.block.probe_ids))
        left = lost
        if not left:
            return done
    for job, found in _one_by_one(left):
        done.append(found)
        bar.advance()
        progress.meter.advance(len(job.block.probe_ids))
    return done


@contextmanager
def _this_runs_server() -> Generator[None]:
    """Workers talk to the server of this run; else each would start one, and leave it behind when it is killed."""
    context = FlowRunContext.get()
    if context is None:
        yield
        return
    with temporary_settings({PREFECT_API_URL: str(context.client.api_url).rstrip("/")}):
        yield


def _inline(job: Job) -> Done:
    try:
        return measure_block(job)
    except InputError:
        raise
    except Exception as error:
        return _failed(job, error)


def _one_by_one(jobs: Sequence[Job]) -> Iterator[tuple[Job, Done]]:
    """One block at a time in one process, so that it is known which block kills its worker; that one has failed."""
    left = list(jobs)
    while left:
        with ProcessPoolTaskRunner(max_workers=1) as pool:
            while left:
                job = left.pop(0)
                try:
                    yield job, cast("Done", pool.submit(measure_block, {"job": job, "threads": _threads(1)}).result())
                except InputError:
                    raise
                except Exception as error:
                    yield job, _failed(job, error)
                    break


def _failed(job: Job, error: BaseException) -> Done:
    get_run_logger().error("%s failed: %s", job.label, _told(error))
    return library.record_failure(job, _told(error))


def _spread(
    jobs: Sequence[Job], pool: AbstractContextManager[Any], threads: int
) -> Iterator[tuple[Job, Done | BaseException]]:
    with pool as entered:
        futures = [entered.submit(measure_block, {"job": job, "threads": threads}) for job in jobs]
        for job, future in zip(jobs, futures, strict=True):
            try:
                yield job, cast("Done", future.result())
            except InputError:
                raise
            except Exception as error:
                yield job, error


def _pool(runner: Runner, workers: int, dask_address: str | None) -> AbstractContextManager[Any]:
    if runner == "threads":
        return ThreadPoolTaskRunner(max_workers=workers)
    if runner == "processes":
        return ProcessPoolTaskRunner(max_workers=workers)
    try:
        if runner == "dask":
            from prefect_dask import DaskTaskRunner

            if dask_address:
                return DaskTaskRunner(address=dask_address)
            local = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": None, "host": "127.0.0.1"}
            return DaskTaskRunner(cluster_kwargs=local)
        from prefect_ray import RayTaskRunner
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
