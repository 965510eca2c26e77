"""Engines: what turns probes and queries into log-probabilities before and after.

:mod:`einfluence.engine.serial` is the definition; the fast engines are held equal to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, cast

from torch import Tensor

from einfluence.engine import serial
from einfluence.engine.check import check_reader, refuse, self_check, serial_because
from einfluence.engine.choice import fastest
from einfluence.engine.exam import Reader
from einfluence.engine.items import ImageItem, Item, Scores, TextItem, Tuned
from einfluence.engine.noise import Found, NoiseWarning, with_noise
from einfluence.engine.outcomes import together
from einfluence.engine.plan import Plan, plan
from einfluence.engine.restoring import Restored
from einfluence.engine.restoring import restored as _restored
from einfluence.errors import InputError
from einfluence.models.base import Base
from einfluence.samples import InTurn
from einfluence.spec import Adapter, Recipe

__all__ = [
    "ImageItem",
    "Item",
    "NoiseWarning",
    "Scores",
    "TextItem",
    "Tuned",
    "Plan",
    "Restored",
    "measure",
    "plan",
    "reader",
    "restored",
    "train",
]


def measure(
    base: Base,
    recipe: Recipe,
    probes: Sequence[Sequence[Item]],
    queries: Sequence[Item],
    seed: int,
    *,
    kept: Mapping[int, dict[str, Tensor]] | None = None,
    engine: str = "auto",
) -> tuple[Scores, Iterator[tuple[int, Tuned, Scores | None]]]:
    """Measures every query before, and after training on each probe.

    Args:
        base: The model; it is left bit-identical.
        recipe: How to train.
        probes: N probes, each one sample or a bundle trained together, or (InTurn) one sample after the other.
        queries: Q samples.
        seed: Seed of the adapter's initialisation.
        kept: For the index of a probe, the ``delta`` of an earlier training, which is used instead of a new one.
        engine: ``auto`` takes the fastest that is exact; ``serial`` the definition.

    Returns:
        The scores (Q,) of the base, and for each probe in order its index, what training left behind, and the
        scores (Q,) after it (None for a probe that failed).
    """
    refuse(base)
    if engine not in ("auto", "serial"):
        raise InputError("engine", repr(engine), "`auto` or `serial`")
    kept = kept or {}
    found = [
        _measure(base, recipe, {i: probes[i] for i in group}, queries, seed, kept, engine)
        for group in _alike(probes) or [[]]
    ]
    return together(found)


def _alike(probes: Sequence[Sequence[Item]]) -> list[list[int]]:
    """Indices of the probes that are trained on all their samples at once, and of those that are in turn."""
    turns = [i for i, probe in enumerate(probes) if isinstance(probe, InTurn)]
    others = [i for i, probe in enumerate(probes) if not isinstance(probe, InTurn)]
    return [group for group in (others, turns) if group]


def _measure(
    base: Base,
    recipe: Recipe,
    numbered: Mapping[int, Sequence[Item]],
    queries: Sequence[Item],
    seed: int,
    kept: Mapping[int, dict[str, Tensor]],
    engine: str,
) -> Found:
    """Measures probes that are all trained in the same way, by their number."""
    numbers, probes = list(numbered), list(numbered.values())
    kept = {place: kept[number] for place, number in enumerate(numbers) if number in kept}
    in_turn = any(isinstance(probe, InTurn) for probe in probes)
    pick = partial(fastest, in_turn=in_turn)
    because = "asked for" if engine == "serial" else serial_because(base, recipe, probes, queries)
    fast = None if because else pick(base, recipe, seed, kept)
    if fast is None:
        found = serial.measure(base, recipe, probes, queries, seed, kept=kept)
    else:
        self_check(partial(pick, base, seed=seed), base, recipe, probes, queries, seed)
        found = fast.measure(cast("Any", probes), cast("Any", queries), kept)

    def again(other: Recipe, few: Sequence[Sequence[Item]], some: Sequence[Item]) -> Any:
        taken = None if because else pick(base, other, seed)
        if taken is None:
            return serial.measure(base, other, few, some, seed)
        return taken.measure(cast("Any", few), cast("Any", some), {})

    if recipe.dtype == "bfloat16":
        found = with_noise(again, recipe, probes, queries, found)
    before, rows = found
    return before, ((numbers[place], tuned, after) for place, tuned, after in rows)


def train(base: Base, recipe: Recipe, probes: Sequence[Sequence[Item]], seed: int) -> list[Tuned]:
    """Trains on N probes at once, each alone, without scoring anything; all N are held in memory."""
    tuned: dict[int, Tuned] = {}
    because = serial_because(base, recipe, probes, ())
    for group in _alike(probes):
        some = [probes[i] for i in group]
        fast = None if because else fastest(base, recipe, seed, in_turn=isinstance(some[0], InTurn))
        alone = [serial.train(base, recipe, probe, seed) for probe in some] if fast is None else None
        tuned |= dict(zip(group, alone or cast("Any", fast).train_all(some), strict=True))
    return [tuned[i] for i in range(len(probes))]


def restored(
    base: Base,
    recipe: Recipe,
    probes: Sequence[Sequence[Item]],
    queries: Sequence[Sequence[Item]],
    seed: int,
    *,
    kept: Mapping[int, dict[str, Tensor]] | None = None,
    engine: str = "auto",
) -> Iterator[tuple[int, Restored | None, str | None]]:
    """Which of a probe's changes mattered: after training, each layer's change is undone in turn.

    Args:
        base: The model; it is left bit-identical.
        recipe: How to train.
        probes: N probes.
        queries: Of each probe its own.
        seed: Seed of the adapter's initialisation.
        kept: For the index of a probe, the ``delta`` of an earlier training, which is used instead of a new one.
        engine: ``auto`` takes the fastest that is exact; ``serial`` the definition.

    Yields:
        For each probe in order its index, what its queries say (None when training failed), and why it failed.
    """
    refuse(base)
    every = [query for each in queries for query in each]
    because = "asked for" if engine == "serial" else serial_because(base, recipe, probes, every)
    fast = None if because else fastest(base, recipe, seed, kept or {})
    if fast is None:

        def by_definition(some: Any, asked: Any, deltas: Any) -> Any:
            return serial.measure(base, recipe, some, asked, seed, kept=deltas)

        def alone(some: Sequence[Sequence[Item]]) -> list[Tuned]:
            return [serial.train(base, recipe, probe, seed) for probe in some]

        return _restored(base, alone, by_definition, probes, queries, kept or {})
    self_check(partial(fastest, base, seed=seed), base, recipe, probes, every, seed)
    return _restored(base, cast("Any", fast.train_all), cast("Any", fast.measure), probes, queries, kept or {})


def reader(base: Base, dtype: str = "float32") -> Callable[[Sequence[TextItem]], Scores]:
    """What scores texts with a base as it is, computing once what several of them begin with.

    The first texts it is given are held against the serial definition.
    """
    refuse(base)
    plain = Recipe(adapter=Adapter(kind="full"), dtype=cast("Any", dtype))
    fast: list[Reader] = []

    def read(items: Sequence[TextItem]) -> Scores:
        if serial_because(base, plain, (), items):
            return serial.evaluate(base, plain, items)
        if not fast:
            fast.append(Reader(base, dtype))
            check_reader(fast[0].read, base, plain, items)
        return fast[0].read(items)

    return read
