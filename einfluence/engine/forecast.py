"""What a run will take: which engine, why, how much at once, how long, how much memory."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from einfluence.engine.contract import Engine
from einfluence.engine.measurement import Item
from einfluence.engine.schedule import Step, Training
from einfluence.engine.select import Choice
from einfluence.engine.sharing import apart, reads

STEPS = 16  # that are rehearsed of a training


@dataclass(frozen=True)
class Forecast:
    """An estimate, from a rehearsal on a few of the probes.

    Args:
        path: The engine, as ``outcomes.engine`` has it; several where sequences are trained by another.
        why: Why it and no other.
        max_trainings: Probes in memory at once, at most.
        seconds: Of all probes on all queries, in this process as it runs now.
        bytes: Peak memory of the process; it does not grow with the number of probes or queries.
    """

    path: str
    why: str
    max_trainings: int
    seconds: float
    bytes: int

    def __str__(self) -> str:
        """One line."""
        most = f"{self.max_trainings} probes at once"
        return f"{self.path} ({self.why}); {most}; {self.seconds:.0f} s, {self.bytes / 1e9:.1f} GB"


def combined(forecasts: Sequence[Forecast]) -> Forecast:
    """The forecast of all trainings, from that of each engine."""
    paths, why = (" and ".join(dict.fromkeys(getattr(one, which) for one in forecasts)) for which in ("path", "why"))
    seconds, peak = sum(one.seconds for one in forecasts), max(one.bytes for one in forecasts)
    return Forecast(paths, why, max(one.max_trainings for one in forecasts), seconds, peak)


def rehearse(choice: Choice, probes: Sequence[Training[Item]], queries: Sequence[Item]) -> Forecast:
    """Rehearses a few probes and extrapolates to all; takes about a second for small models.

    Of long trainings the first steps are taken, and the others counted by the samples that they read.

    Args:
        choice: The engine.
        probes: All trainings that it will take.
        queries: All Q of them.
    """
    engine, why = choice.engine, choice.why or choice.candidate.why
    few, some = (
        (spread(probes, 1), spread(queries, 8)) if choice.is_definition else (spread(probes, 16), spread(queries, 96))
    )
    if not few or not some:
        return Forecast(choice.name, why, 1, 0.0, peak())
    few = [apart(shortened(training, STEPS)) for training in few]  # trainings of one set share their first steps
    at_once = max(engine.max_trainings, 1)
    longer = reads(probes, at_once) / max(reads(few, at_once), 1) * len(few) / len(probes)
    if not choice.is_definition:
        timed(lambda: _all(engine, few[:2], some[:4]))
    training = timed(lambda: engine.train_all(few)) / len(few)
    both = timed(lambda: _all(engine, few, some)) / len(few)
    times = 2 if choice.is_definition else 1  # its single probe is read as well as the base
    reading = max(both - training, 0.0) / (len(some) * times)
    seconds = len(probes) * (training * longer + reading * len(queries))
    most = max(min(engine.max_trainings, len(probes)), 1)
    more = (most - len(few)) * engine.bytes_per_training * 3 + 16 * most * len(queries)
    return Forecast(choice.name, why, most, seconds, peak() + max(more, 0))


def shortened(training: Training[Item], most: int) -> Training[Item]:
    """The first steps of a training, so many in all and at least one of each stage."""
    stages: list[tuple[Step, ...]] = []
    for stage in training.stages:
        stages.append(stage[: max(most - sum(map(len, stages)), 1)])
    return replace(training, stages=tuple(stages))


def _all(engine: Engine, probes: Sequence[Training[Item]], queries: Sequence[Item]) -> None:
    for _ in engine.measure(probes, queries, {})[1]:
        pass


def spread(items: Sequence[Any], most: int) -> list[Any]:
    """At most so many, evenly over all."""
    return [items[i * len(items) // min(most, len(items))] for i in range(min(most, len(items)))]


def peak() -> int:
    """Most bytes that this process has held."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def timed(run: Callable[[], object]) -> float:
    """Seconds that it takes."""
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin
