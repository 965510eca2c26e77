"""Where shards can be computed, by name or by address."""

from __future__ import annotations

from collections.abc import Callable

from einfluence.errors import InputError
from einfluence.execute import Executor
from einfluence.runners.dask import Dask
from einfluence.runners.local import Inline, Processes, Threads
from einfluence.runners.ray import Ray
from einfluence.session import Session

__all__ = ["NAMES", "Dask", "Inline", "Processes", "Ray", "Threads", "addressed", "check_runner", "find_executor"]

NAMES = ("inline", "threads", "processes", "dask", "ray")


def find_executor(
    name: str, session: Session, workers: int = 2, device: str = "auto", on_probe: Callable[[], None] = lambda: None
) -> Executor:
    """The executor of a name or an address.

    Args:
        name: One of :data:`NAMES`, or the address of a cluster that runs: ``dask://host:8786``, ``ray://host:10001``.
        session: Of this process.
        workers: How many shards at once; without meaning for ``inline`` and for a cluster that runs.
        device: Of workers in processes of their own.
        on_probe: Called after each probe that this process computes.

    Raises:
        InputError: When there is none of that name, or what it needs is not installed.
    """
    check_runner(name)
    kind, address = _read(name)
    match kind:
        case "inline":
            return Inline(session, on_probe)
        case "threads":
            return Threads(session, workers, on_probe)
        case "processes":
            return Processes(workers, device)
        case "dask":
            return Dask(workers, device, address)
        case _:
            return Ray(workers, device, address)


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
    """Refuses what is not known, not installed or not there, before anything is started.

    Raises:
        InputError: Which of these it is.
    """
    kind, address = _read(name)
    if kind not in NAMES or (address is not None and kind not in ("dask", "ray")):
        expected = f"one of {', '.join(NAMES)}, or an address such as dask://127.0.0.1:8786"
        raise InputError("runner", repr(name), expected)
    if kind == "dask":
        Dask.check(address)
    elif kind == "ray":
        Ray.check(address)


def _read(name: str) -> tuple[str, str | None]:
    """``dask://host:8786`` is a runner and where it is; a name has no such place."""
    kind, separator, rest = name.partition("://")
    return kind, rest if separator else None
