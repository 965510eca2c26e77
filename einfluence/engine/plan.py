"""What a run will take: which engine, why, how much at once, how long, how much memory."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from einfluence.engine.check import serial_because
from einfluence.engine.choice import Engine, fastest
from einfluence.engine.items import Item
from einfluence.models.base import Base
from einfluence.spec import Recipe

WAYS = {
    "TextEngine": ("batched LoRA", "its targets are Linear or Conv1D, so many probes' adapters train in one batch"),
    "FullEngine": ("low-rank factors", "SGD's change of a matrix is low-rank, so no weights are copied"),
    "SwappedEngine": ("one by one, read in blocks", "this optimizer or layer has no exact batched form on texts"),
    "ImageEngine": ("stacked weights", "every trained layer has a batched form"),
}


@dataclass(frozen=True)
class Plan:
    """An estimate, from a rehearsal on a few of the probes.

    Args:
        path: The engine, for people.
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


def plan(base: Base, recipe: Recipe, probes: Sequence[Sequence[Item]], queries: Sequence[Item], seed: int = 0) -> Plan:
    """Rehearses a few probes and extrapolates to all; takes about a second for small models.

    Args:
        base: The base.
        recipe: How probes are trained.
        probes: All N of them.
        queries: All Q of them.
        seed: Of the adapters.
    """
    because = serial_because(base, recipe, probes, queries)
    engine = None if because else fastest(base, recipe, seed)
    few, some = [list(probe) for probe in _spread(probes, 16)], _spread(queries, 96)
    if engine is None or not few or not some:
        return _serially(base, recipe, probes, queries, seed, because or "a layer that only the definition knows")
    path, why = WAYS[type(engine).__name__]
    most = _at_once(engine, len(probes))
    _timed(lambda: _all(engine, few[:2], some[:4]))
    training = _timed(lambda: engine.train_all(cast("Any", few))) / len(few)
    both = _timed(lambda: _all(engine, few, some)) / len(few)
    reading = max(both - training, 0.0) / len(some)
    seconds = len(probes) * (training + reading * len(queries))
    more = (most - len(few)) * _delta_bytes(engine) * 3 + 16 * most * len(queries)
    return Plan(path, why, most, seconds, _peak() + max(more, 0))


def _serially(base: Base, recipe: Recipe, probes: Any, queries: Any, seed: int, because: str) -> Plan:
    from einfluence.engine import serial

    seconds = 0.0
    if probes and queries:
        some = _spread(queries, 8)
        training = _timed(lambda: serial.train(base, recipe, probes[0], seed))
        seconds = len(probes) * (
            training + _timed(lambda: serial.evaluate(base, recipe, some)) / len(some) * len(queries)
        )
    return Plan("the serial definition", because, 1, seconds, _peak())


def _all(engine: Engine, probes: Sequence[Any], queries: Sequence[Any]) -> None:
    for _ in engine.measure(probes, queries, {})[1]:
        pass


def _spread(items: Sequence[Any], most: int) -> list[Any]:
    """At most so many, evenly over all."""
    return [items[i * len(items) // min(most, len(items))] for i in range(min(most, len(items)))]


def _at_once(engine: Engine, probes: int) -> int:
    sizes: Any = engine.sizes
    return max(min(getattr(sizes, "window", None) or sizes.most, probes), 1)


def _delta_bytes(engine: Engine) -> int:
    held: Any = getattr(engine, "lora", None)
    if held is not None:
        return sum(layer.start.numel() * (1 + layer.out / layer.start.shape[1]) * 4 for layer in held.layers).__int__()
    start: Any = getattr(engine, "start", None) or {}
    return sum(value.numel() * value.element_size() for value in start.values())


def _peak() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _timed(run: Callable[[], object]) -> float:
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin
