"""The library's executors in Prefect: each shard is a task run of the flow that hands it out."""

from __future__ import annotations

from functools import partial
from threading import Event
from typing import Any, Self

from prefect import get_run_logger
from prefect.task_runners import ThreadPoolTaskRunner

from einfluence.compute import Done
from einfluence.execute import AHEAD, Executor, Pending, Watch, execute
from einfluence.plan import Plan
from einfluence.runners import Processes, find_executor
from einfluence.runners.local import Later
from einfluence.session import Session
from einfluence.shards import Job
from tasks import progress
from tasks.artifacts import ProgressBar
from tasks.steps import measure_shard


def measure_shards(todo: Plan, name: str, workers: int, device: str, session: Session) -> list[Done]:
    """Computes what a plan found missing, in shards; returns what each did, in no particular order.

    Args:
        todo: The plan.
        name: Where: a runner's name or address (:func:`einfluence.runners.find_executor`).
        workers: How many at once.
        device: Of workers in processes of their own.
        session: Of this process.

    Raises:
        InputError: When a sample does not fit the base or the store cannot be written; finished shards are kept.
    """
    bar, logger = ProgressBar(len(todo.jobs)), get_run_logger()
    heard = Event()  # that probes are counted one by one, and not by the shard

    def hear() -> None:
        heard.set()
        progress.meter.advance()

    place = find_executor(name, session, workers, device, hear)

    def count(job: Job, _: Done) -> None:
        bar.advance(len(job.blocks))
        progress.meter.advance(0 if heard.is_set() else len(job.probe_ids))

    return execute(todo, TaskRuns(place), TaskRuns(Processes(1, device)), Watch(count, logger.warning, logger.error))


class TaskRuns:
    """An executor each of whose shards is a task run."""

    def __init__(self, place: Executor) -> None:
        self._place = place

    @property
    def slots(self) -> int:
        """As many as the executor itself has."""
        return self._place.slots

    def submit(self, job: Job) -> Pending:
        """Starts a task run that hands the shard out and waits for it."""
        if self.slots == 1:
            return Later(partial(measure_shard, job, self._place))
        return self._threads.submit(measure_shard, {"job": job, "executor": self._place})

    def died(self, error: Exception) -> bool:
        """As the executor itself has it."""
        return self._place.died(error)

    def __enter__(self) -> Self:
        self._place.__enter__()
        self._threads = ThreadPoolTaskRunner(max_workers=AHEAD * self.slots).__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        try:
            self._place.__exit__(*error)  # first, so that nobody waits long for the threads that wait for its workers
        finally:
            self._threads.__exit__(*error)
