"""Where blocks are computed: in this process, in threads, in processes, on a Dask cluster, on Ray.

Whatever the runner, a block is committed to the store by whoever computed it, and only its counts come back. A block
whose worker died is tried again in a process of its own; what fails there too is recorded as failed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, cast

from prefect import get_run_logger
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner

from einfluence import run as library
from einfluence.errors import InputError
from einfluence.run import Done, Job
from tasks import progress
from tasks.artifacts import ProgressBar
from tasks.steps import measure_block

Runner = Literal["inline", "threads", "processes", "dask", "ray"]


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
    lost: list[Job] = []
    near = runner == "threads"
    for job, found in _spread(jobs, _pool(runner, workers, dask_address), _threads(1 if near else workers)):
        if isinstance(found, Done):
            done.append(found)
            bar.advance()
            progress.meter.advance(0 if near else len(job.block.probe_ids))
        else:
            get_run_logger().warning("%s: %s; tried again in a process of its own", job.label, _told(found))
            lost.append(job)
    return [*done, *(_alone(job) for job in lost)]


def _inline(job: Job) -> Done:
    try:
        return measure_block(job)
    except InputError:
        raise
    except Exception as error:
        return _failed(job, error)


def _alone(job: Job) -> Done:
    """A block in a process of its own, so that a block which kills its worker takes no other with it."""
    for _, found in _spread([job], ProcessPoolTaskRunner(max_workers=1), _threads(1)):
        progress.meter.advance(len(job.block.probe_ids))
        return found if isinstance(found, Done) else _failed(job, found)
    return Done(0, {})


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


def _told(error: BaseException) -> str:
    text = f"{type(error).__name__}: {error}".strip().splitlines()[0]
    return f"its worker died ({text})" if "terminated abruptly" in text or "KilledWorker" in text else text
