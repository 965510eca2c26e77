"""Where shards can be computed, by name or by address.

A package adds a runner of its own by the entry point group ``einfluence.runners``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from einfluence.errors import InputError
from einfluence.execute import Executor
from einfluence.installed import installed
from einfluence.runners.dask import Dask
from einfluence.runners.local import Inline, Processes, Threads
from einfluence.runners.ray import Ray
from einfluence.session import Session

__all__ = ["Wanted", "Dask", "Inline", "Processes", "Ray", "Runner", "Threads", "addressed", "check_runner",
           "find_executor", "reach", "runners"]  # fmt: skip

GROUP = "einfluence.runners"


@dataclass(frozen=True)
class Wanted:
    """What a run wants of a runner.

    Args:
        session: Of this process.
        workers: How many shards at once; without meaning for ``inline`` and for a cluster that runs.
        device: Of workers in processes of their own.
        address: What stands behind ``name://``; None where the runner is named alone.
        on_probe: To be called after each probe that this process computes, for progress.
    """

    session: Session
    workers: int = 2
    device: str = "auto"
    address: str | None = None
    on_probe: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Runner:
    """A way to compute shards.

    Args:
        name: As ``--runner`` and ``measure(…, runner=…)`` take it.
        executor: Makes its executor, which starts nothing before it is entered.
        check: Raises InputError where what it needs is not installed; quick.
        reach: Raises InputError where nothing answers at an address; None for a runner that takes no address.
    """

    name: str
    executor: Callable[[Wanted], Executor]
    check: Callable[[], None] = lambda: None
    reach: Callable[[str], None] | None = None


SHIPPED = (
    Runner("inline", lambda wanted: Inline(wanted.session, wanted.on_probe)),
    Runner("threads", lambda wanted: Threads(wanted.session, wanted.workers, wanted.on_probe)),
    Runner("processes", lambda wanted: Processes(wanted.workers, wanted.device)),
    Runner("dask", lambda wanted: Dask(wanted.workers, wanted.device, wanted.address), Dask.check, Dask.reach),
    Runner("ray", lambda wanted: Ray(wanted.workers, wanted.device, wanted.address), Ray.check, Ray.reach),
)


@cache
def runners() -> dict[str, Runner]:
    """All runners by name, those of installed packages too.

    Raises:
        ValueError: When a package gives one a name that is taken.
    """
    found: dict[str, Runner] = {}
    for runner in (*SHIPPED, *installed(GROUP)):
        if found.setdefault(runner.name, runner) is not runner:
            raise ValueError(f"a name of its own (another runner is called {runner.name!r})")
    return found


def find_executor(
    name: str, session: Session, workers: int = 2, device: str = "auto", on_probe: Callable[[], None] = lambda: None
) -> Executor:
    """The executor of a name or an address.

    Args:
        name: One of :func:`runners`, or the address of a cluster that runs: ``dask://host:8786``,
            ``ray://host:10001``.
        session: Of this process.
        workers: As for :class:`Wanted`.
        device: As for :class:`Wanted`.
        on_probe: As for :class:`Wanted`.

    Raises:
        InputError: When there is none of that name, or what it needs is not installed.
    """
    runner, address = _read(name)
    runner.check()
    return runner.executor(Wanted(session, workers, device, address, on_probe))


def addressed(name: str, dask_address: str | None) -> str:
    """A runner whose address stands beside it, as one that has it in its name.

    Raises:
        InputError: When the runner is not Dask.
    """
    if dask_address is None:
        return name
    if name != "dask":
        raise InputError("--dask-address", f"an address beside --runner {name}", "--runner dask")
    return f"dask://{dask_address}"


def check_runner(name: str) -> None:
    """Refuses what is not known or not installed, before anything is started; asks nobody.

    Raises:
        InputError: Which of these it is.
    """
    _read(name)[0].check()


def reach(name: str) -> None:
    """Refuses an address where nothing answers; of a name alone there is nothing to ask.

    Raises:
        InputError: When nothing does.
    """
    runner, address = _read(name)
    if runner.reach is not None and address is not None:
        runner.reach(address)


def _read(name: str) -> tuple[Runner, str | None]:
    """``dask://host:8786`` is a runner and where it is; a name has no such place."""
    kind, separator, rest = name.partition("://")
    runner = runners().get(kind)
    if runner is None or (separator and runner.reach is None):
        expected = f"one of {', '.join(runners())}, or an address such as dask://127.0.0.1:8786"
        raise InputError("runner", repr(name), expected)
    return runner, rest if separator else None
