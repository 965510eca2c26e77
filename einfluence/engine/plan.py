"""What a run will take: which engine, why, how much at once, how long, how much memory."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from einfluence.engine.contract import Engine
from einfluence.engine.items import Item
from einfluence.engine.schedule import Training
from einfluence.engine.select import Choice


@dataclass(frozen=True)
class Plan:
    """An estimate, from a rehearsal on a few of the probes.

    Args:
        path: The engine, as ``outcomes.engine`` has it; several where sequences are trained by another.
        why: Why it and no other.
        at_once: Probes in memory at once, at most.
        seconds: Of all probes on all queries, in this process as it runs now.
        bytes: Peak memory of the process; it does not grow with the number of probes or queries.
    """

    path: str
    why: str
    at_once: int
    seconds: float
    bytes: int

    def __str__(self) -> str:
        """One line."""
        return (
            f"{self.path} ({self.why}); {self.at_once} probes at once; {self.seconds:.0f} s, {self.bytes / 1e9:.1f} GB"
        )


def whole(plans: Sequence[Plan]) -> Plan:
    """The plan of all trainings, from those of each engine's own."""
    paths, why = (" and ".join(dict.fromkeys(getattr(one, which) for one in plans)) for which in ("path", "why"))
    seconds, peak = sum(one.seconds for one in plans), max(one.bytes for one in plans)
    return Plan(paths, why, max(one.at_once for one in plans), seconds, peak)


def rehearse(choice: Choice, probes: Sequence[Training[Item]], queries: Sequence[Item]) -> Plan:
    """Rehearses a few probes and extrapolates to all; takes about a second for small models.

    Args:
        choice: The engine.
        probes: All trainings that it will take.
        queries: All Q of them.
    """
    engine, why = choice.engine, choice.why or choice.of.why
    few, some = (
        (_spread(probes, 1), _spread(queries, 8)) if choice.last else (_spread(probes, 16), _spread(queries, 96))
    )
    if not few or not some:
        return Plan(choice.name, why, 1, 0.0, _peak())
    if not choice.last:
        _timed(lambda: _all(engine, few[:2], some[:4]))
    training = _timed(lambda: engine.train_all(few)) / len(few)
    both = _timed(lambda: _all(engine, few, some)) / len(few)
    times = 2 if choice.last else 1  # its single probe is read as well as the base
    reading = max(both - training, 0.0) / (len(some) * times)
    seconds = len(probes) * (training + reading * len(queries))
    most = max(min(engine.at_once, len(probes)), 1)
    more = (most - len(few)) * engine.held * 3 + 16 * most * len(queries)
    return Plan(choice.name, why, most, seconds, _peak() + max(more, 0))


def _all(engine: Engine, probes: Sequence[Training[Item]], queries: Sequence[Item]) -> None:
    for _ in engine.measure(probes, queries, {})[1]:
        pass


def _spread(items: Sequence[Any], most: int) -> list[Any]:
    """At most so many, evenly over all."""
    return [items[i * len(items) // min(most, len(items))] for i in range(min(most, len(items)))]


def _peak() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _timed(run: Callable[[], object]) -> float:
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin
