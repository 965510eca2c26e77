"""What a run will take: which engine, why, how much at once, how long, how much memory."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from einfluence.engine import serial
from einfluence.engine.choice import DEFINITION, Choice, Engine
from einfluence.engine.items import Item
from einfluence.models.base import Base
from einfluence.spec import Recipe

WHY = {
    "batched lora": "its targets are Linear or Conv1D, so many probes' adapters train in one batch",
    "low-rank sgd": "SGD's change of a matrix is low-rank, so no weights are copied",
    "one by one": "this optimizer or layer has no exact batched form on texts; queries are read in blocks",
    "images": "every trained layer has a batched form",
    DEFINITION: "only the definition trains these probes as they are meant",
}


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


def plan(
    choose: Callable[[Sequence[Sequence[Item]]], Choice],
    base: Base,
    recipe: Recipe,
    groups: Sequence[Sequence[Sequence[Item]]],
    queries: Sequence[Item],
    seed: int = 0,
) -> Plan:
    """Rehearses a few probes and extrapolates to all; takes about a second for small models.

    Args:
        choose: The engine for probes that are all trained in the same way.
        base: The base.
        recipe: How probes are trained.
        groups: The N probes, those together that are trained in the same way.
        queries: All Q of them.
        seed: Of the adapters.
    """
    plans = [_one(choose(probes), base, recipe, probes, queries, seed) for probes in groups]
    paths, why = (" and ".join(dict.fromkeys(getattr(one, which) for one in plans)) for which in ("path", "why"))
    seconds, peak = sum(one.seconds for one in plans), max(one.bytes for one in plans)
    return Plan(paths, why, max(one.at_once for one in plans), seconds, peak)


def _one(choice: Choice, base: Base, recipe: Recipe, probes: Sequence[Any], queries: Sequence[Item], seed: int) -> Plan:
    engine, why = choice.engine, choice.why or WHY[choice.name]
    few, some = _spread(probes, 16), _spread(queries, 96)
    if engine is None or not few or not some:
        seconds = _serially(base, recipe, probes, queries, seed)
        return Plan(choice.name, why, 1, seconds, _peak())
    most = _at_once(engine, len(probes))
    _timed(lambda: _all(engine, few[:2], some[:4]))
    training = _timed(lambda: engine.train_all(cast("Any", few))) / len(few)
    both = _timed(lambda: _all(engine, few, some)) / len(few)
    reading = max(both - training, 0.0) / len(some)
    seconds = len(probes) * (training + reading * len(queries))
    more = (most - len(few)) * _delta_bytes(engine) * 3 + 16 * most * len(queries)
    return Plan(choice.name, why, most, seconds, _peak() + max(more, 0))


def _serially(base: Base, recipe: Recipe, probes: Any, queries: Any, seed: int) -> float:
    if not probes or not queries:
        return 0.0
    some = _spread(queries, 8)
    training = _timed(lambda: serial.attempt(base, recipe, probes[0], seed))
    return len(probes) * (training + _timed(lambda: serial.evaluate(base, recipe, some)) / len(some) * len(queries))


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
