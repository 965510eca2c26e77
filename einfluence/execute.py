"""What happens to a plan: its shards are handed out, tried again, isolated, and recorded where they fail.

Wherever shards are computed, the policy is this one. A shard is committed to the store by whoever computed it, and only
its counts come back. The blocks of a shard that failed are tried once more, each for itself. A block that raises an
error again has failed. So has one whose worker dies when it computes nothing else, and one whose arm cannot be fitted.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, Self

from einfluence.compute import Done, record_failure
from einfluence.errors import InputError
from einfluence.fit import Fit
from einfluence.plan import Plan
from einfluence.shards import Job, Shards

AHEAD = 2  # shards handed out for each of several workers: none waits, and most are cut when their pace is known
ROUNDS = 2  # tries beside others


class Pending(Protocol):
    """A shard that was handed out."""

    def result(self) -> Done:
        """Waits for it; raises what it ended with."""
        ...


class Executor(Protocol):
    """Where shards are computed. Its workers live while it is entered; it may be entered again after that."""

    @property
    def slots(self) -> int:
        """How many shards it computes at once; known once it is entered."""
        ...

    def submit(self, job: Job) -> Pending:
        """Hands a shard to a worker, which calls :func:`einfluence.compute.compute` with a session of its own."""
        ...

    def died(self, error: Exception) -> bool:
        """Whether an error says that a worker is gone: which of its shards was to blame, nobody knows."""
        ...

    def __enter__(self) -> Self:
        """Starts the workers."""
        ...

    def __exit__(self, *error: Any) -> None:
        """Ends them; at once, if there was an error."""
        ...


@dataclass(frozen=True)
class Watch:
    """What is notified of a run's progress.

    Args:
        done: Called with each shard that was computed or has failed for good.
        again: Called with a line for each shard that will be tried again.
        failed: Called with a line for each that will not.
    """

    done: Callable[[Job, Done], None] = lambda job, done: None
    again: Callable[[str], None] = logging.getLogger(__name__).warning
    failed: Callable[[str], None] = logging.getLogger(__name__).error


def fit_all(todo: Plan, act: Callable[[Fit], None], watch: Watch | None = None) -> tuple[Plan, list[Done]]:
    """Fits what a plan found missing; the shards of an arm that cannot be fitted have failed, and all others are left.

    Args:
        todo: The plan.
        act: Fits one (:func:`einfluence.fit.fit`).
        watch: Who hears of what failed; by default the log.

    Returns:
        What is left to compute, and what the shards did that are not.

    Raises:
        InputError: When a sample does not fit the base or the store cannot be written.
    """
    watch = watch or Watch()
    jobs, done = list(todo.jobs), list[Done]()
    for missing in todo.fits:
        error = _tried(partial(act, missing))
        if isinstance(error, Exception):
            watch.failed(str(error))
            done += [record_failure(job, str(error)) for job in jobs if job.state_id == missing.state_id]
            jobs = [job for job in jobs if job.state_id != missing.state_id]
    return replace(todo, jobs=tuple(jobs), fits=()), done


def execute(todo: Plan, executor: Executor, alone: Executor, watch: Watch | None = None) -> list[Done]:
    """Computes what a plan found missing; returns what each shard did, in no particular order.

    Args:
        todo: The plan.
        executor: Where.
        alone: Where a block is tried by itself whose worker died: one slot, and a worker that can be lost.
        watch: Who hears of it; by default the log.

    Raises:
        InputError: When a sample does not fit the base or the store cannot be written; finished shards are kept.
    """
    watch = watch or Watch()
    done: list[Done] = []

    def end(job: Job, found: Done | Exception, reason: str = "") -> None:
        if not isinstance(found, Done):
            watch.failed(f"{job.label} failed: {reason}")
            found = record_failure(job, reason)
        done.append(found)
        watch.done(job, found)

    left, lost = list(todo.jobs), list[Job]()
    for tries in range(1, ROUNDS + 1):
        again: list[Job] = []
        for job, found in _computed(left, todo.fixed or tries > 1, executor):
            if isinstance(found, Done):
                end(job, found)
                continue
            reason = _reason(found, executor)
            if tries < ROUNDS:
                watch.again(f"{job.label}: {reason}; it is tried again")
                again += job.alone()
            elif executor.died(found):
                watch.again(f"{job.label}: {reason}; it is tried again, by itself")
                lost.append(job)
            else:
                end(job, found, reason)
        left = again
    for job, found in _one_by_one(lost, alone):
        end(job, found, "" if isinstance(found, Done) else _reason(found, alone))
    return done


def _computed(jobs: Sequence[Job], fixed: bool, executor: Executor) -> Iterator[tuple[Job, Done | Exception]]:
    if not jobs:
        return
    with executor:
        shards, going = Shards(jobs, executor.slots, fixed=fixed), deque[tuple[Job, Any]]()
        ahead = AHEAD * executor.slots if executor.slots > 1 else 1
        while True:
            while len(going) < ahead and (job := shards.take()) is not None:
                going.append((job, _tried(partial(executor.submit, job))))
            if not going:
                return
            job, pending = going.popleft()
            found = pending if isinstance(pending, Exception) else _tried(pending.result)
            if isinstance(found, Done):
                shards.took(job, found.seconds)
            yield job, found


def _one_by_one(jobs: Sequence[Job], alone: Executor) -> Iterator[tuple[Job, Done | Exception]]:
    left = deque(jobs)
    while left:
        with alone:
            alive = True
            while left and alive:
                job = left.popleft()
                found = _tried(lambda job=job: alone.submit(job).result())
                alive = isinstance(found, Done) or not alone.died(found)
                yield job, found


def _tried(act: Callable[[], Any]) -> Any:
    """What an act returns, or the error that it ends with; a wrong input or a store that is full ends the run."""
    try:
        return act()
    except InputError:
        raise
    except Exception as error:
        return error


def _reason(error: Exception, executor: Executor) -> str:
    text = f"{type(error).__name__}: {error}".strip().splitlines()[0]
    return f"its worker died ({text})" if executor.died(error) else text
