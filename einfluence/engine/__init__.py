"""Engines: what turns probes and queries into log-probabilities before and after.

:mod:`einfluence.engine.serial` is the definition; the fast engines are held equal to it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

from torch import Tensor

from einfluence.engine import serial
from einfluence.engine.check import FallbackWarning, Trial, doubt_reader, refuse, serial_because, warn_of_fallback
from einfluence.engine.choice import DEFINITION, Choice, choose
from einfluence.engine.exam import Reader
from einfluence.engine.items import ImageItem, Item, MeasuredRow, Measurement, Scores, TextItem, Tuned
from einfluence.engine.noise import NoiseWarning, with_noise
from einfluence.engine.outcomes import together
from einfluence.engine.plan import Plan
from einfluence.engine.plan import plan as _plan
from einfluence.engine.restoring import Restored
from einfluence.engine.restoring import restored as _restored
from einfluence.errors import InputError, first_line
from einfluence.models.base import Base
from einfluence.samples import InTurn
from einfluence.spec import Full, Recipe

__all__ = [
    "FallbackWarning",
    "ImageItem",
    "Item",
    "MeasuredRow",
    "Measurement",
    "NoiseWarning",
    "Scores",
    "TextItem",
    "Tuned",
    "Plan",
    "Restored",
    "TextReader",
    "measure",
    "plan",
    "restored",
    "train",
]

SHARED = "shared prefixes"


def measure(
    base: Base,
    recipe: Recipe,
    probes: Sequence[Sequence[Item]],
    queries: Sequence[Item],
    seed: int,
    *,
    kept: Mapping[int, dict[str, Tensor]] | None = None,
    engine: str = "auto",
) -> Measurement:
    """Measures every query before, and after training on each probe.

    Args:
        base: The model; it is left bit-identical.
        recipe: How to train.
        probes: N probes, each one sample or a bundle trained together, or (InTurn) one sample after the other.
        queries: Q samples.
        seed: Seed of the adapter's initialisation.
        kept: For the index of a probe, the ``delta`` of an earlier training, which is used instead of a new one.
        engine: ``auto`` takes the fastest that is exact; ``serial`` the definition.

    Raises:
        InputError: When the recipe does not fit the base, or the base cannot read the queries.
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
) -> Measurement:
    """Measures probes that are all trained in the same way, by their number."""
    numbers, probes = list(numbered), list(numbered.values())
    choice = _chosen(base, recipe, probes, queries, seed, engine, kept=bool(kept))
    kept = {place: kept[n] for place, n in enumerate(numbers) if n in kept and choice.reads(kept[n])}
    found = _by(choice, base, recipe, probes, queries, seed, kept)

    def again(other: Recipe, few: Sequence[Sequence[Item]], some: Sequence[Item]) -> Measurement:
        if choice.engine is None:
            return serial.measure(base, other, few, some, seed)
        same: Any = cast("Any", type(choice.engine))(base, other, seed)
        return same.measure(few, some, {})

    before, rows = with_noise(again, base, recipe, probes, queries, found)
    return Measurement(before, (row._replace(probe=numbers[row.probe]) for row in rows))


def _chosen(
    base: Base,
    recipe: Recipe,
    probes: Sequence[Sequence[Item]],
    queries: Sequence[Item],
    seed: int,
    engine: str = "auto",
    *,
    kept: bool = False,
    undoes: bool = False,
) -> Choice:
    """The fastest engine that passes its trial, for probes that are all trained in the same way.

    Warns:
        FallbackWarning: Where a faster one did not.
    """
    because = "asked for" if engine == "serial" else serial_because(base, recipe, probes, queries)
    if because:
        return Choice(None, DEFINITION, because)
    trial = Trial(base, recipe, probes, queries, seed, kept=kept, undoes=undoes)
    choice = choose(base, recipe, seed, any(isinstance(probe, InTurn) for probe in probes), trial.doubt)
    if not choice.expected or (choice.engine is None and choice.why):
        warn_of_fallback(base, recipe.label, choice.name, choice.why)
    return choice


def _by(
    choice: Choice,
    base: Base,
    recipe: Recipe,
    probes: Sequence[Sequence[Item]],
    queries: Sequence[Item],
    seed: int,
    kept: Mapping[int, dict[str, Tensor]],
) -> Measurement:
    """Measures with an engine; where it fails on the way, the definition measures the probes that are left."""
    slow = partial(_by_definition, base, recipe, queries=queries, seed=seed)
    if choice.engine is None:
        return slow(probes, kept, why=choice.why)
    try:
        before, rows = choice.engine.measure(cast("Any", probes), cast("Any", queries), kept)
    except Exception as error:
        warn_of_fallback(base, recipe.label, DEFINITION, first_line(error))
        return slow(probes, {}, why=first_line(error))

    def each() -> Iterator[MeasuredRow]:
        done = 0
        try:
            for row in rows:
                yield row._replace(tuned=replace(row.tuned, engine=choice.name, fallback=choice.why or None))
                done += 1
            return
        except Exception as error:
            why = first_line(error)
        warn_of_fallback(base, recipe.label, DEFINITION, why)
        rest = together([Measurement(before, iter(())), slow(probes[done:], {}, why=why)])
        for row in rest.rows:
            yield row._replace(probe=done + row.probe)

    return Measurement(before, each())


def _by_definition(
    base: Base,
    recipe: Recipe,
    probes: Sequence[Sequence[Item]],
    kept: Mapping[int, dict[str, Tensor]],
    *,
    queries: Sequence[Item],
    seed: int,
    why: str,
) -> Measurement:
    before, rows = serial.measure(base, recipe, probes, queries, seed, kept=kept)
    by = {"engine": DEFINITION, "fallback": why or None}
    return Measurement(before, (row._replace(tuned=replace(row.tuned, **by)) for row in rows))


def plan(
    base: Base,
    recipe: Recipe,
    probes: Sequence[Sequence[Item]],
    queries: Sequence[Item],
    seed: int = 0,
    engine: str = "auto",
) -> Plan:
    """What :func:`measure` would take: a few probes are rehearsed by the engines that it would take.

    Args:
        base: The base.
        recipe: How probes are trained.
        probes: All N of them.
        queries: All Q of them.
        seed: Of the adapters.
        engine: ``auto`` takes the fastest that is exact; ``serial`` the definition.
    """
    refuse(base)

    def chosen(group: Sequence[Sequence[Item]]) -> Choice:
        return _chosen(base, recipe, group, queries, seed, engine)

    groups = [[probes[i] for i in group] for group in _alike(probes)]
    return _plan(chosen, base, recipe, groups or [[]], queries, seed)


def train(base: Base, recipe: Recipe, probes: Sequence[Sequence[Item]], seed: int) -> list[Tuned]:
    """Trains on N probes at once, each alone, without scoring anything; all N are held in memory."""
    tuned: dict[int, Tuned] = {}
    for group in _alike(probes):
        some = [probes[i] for i in group]
        engine = _chosen(base, recipe, some, [item for probe in some for item in probe], seed).engine
        alone = [serial.attempt(base, recipe, probe, seed) for probe in some] if engine is None else None
        tuned |= dict(zip(group, alone or cast("Any", engine).train_all(some), strict=True))
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
        probes: N probes, trained as :func:`measure` trains them.
        queries: Of each probe its own.
        seed: Seed of the adapter's initialisation.
        kept: For the index of a probe, the ``delta`` of an earlier training, which is used instead of a new one.
        engine: ``auto`` takes the fastest that is exact; ``serial`` the definition.

    Yields:
        For each probe in order its index, what its queries say (None when training failed), and why it failed.
    """
    refuse(base)
    groups = [_undoing(base, recipe, group, probes, queries, seed, kept or {}, engine) for group in _alike(probes)]
    return heapq.merge(*groups, key=lambda row: row[0])


def _undoing(
    base: Base,
    recipe: Recipe,
    group: Sequence[int],
    every: Sequence[Sequence[Item]],
    asked: Sequence[Sequence[Item]],
    seed: int,
    given: Mapping[int, dict[str, Tensor]],
    engine: str,
) -> Iterator[tuple[int, Restored | None, str | None]]:
    """As :func:`restored`, of the probes of one group."""
    probes, queries = [every[i] for i in group], [asked[i] for i in group]
    flat = [query for each in queries for query in each]
    choice = _chosen(base, recipe, probes, flat, seed, engine, kept=bool(given), undoes=True)
    done = 0
    if choice.engine is not None:
        kept = {place: given[i] for place, i in enumerate(group) if i in given and choice.reads(given[i])}
        fast: Any = choice.engine
        try:
            for place, told, why in _restored(base, fast.train_all, fast.measure, probes, queries, kept):
                yield group[place], told, why
                done += 1
            return
        except Exception as error:
            warn_of_fallback(base, recipe.label, DEFINITION, first_line(error))
            choice = Choice(None, DEFINITION)

    def by_definition(some: Any, questions: Any, deltas: Any) -> Any:
        return serial.measure(base, recipe, some, questions, seed, kept=deltas)

    def alone(some: Sequence[Sequence[Item]]) -> list[Tuned]:
        return [serial.attempt(base, recipe, probe, seed) for probe in some]

    left = group[done:]
    kept = {place: given[i] for place, i in enumerate(left) if i in given and choice.reads(given[i])}
    for place, told, why in _restored(base, alone, by_definition, probes[done:], queries[done:], kept):
        yield left[place], told, why


class TextReader:
    """Scores texts with a base as it is, computing once what several of them begin with.

    The first texts that it is given are held against the serial definition, which reads them where the two differ.

    Args:
        base: A causal LM.
        dtype: ``float32``, ``float64`` or ``bfloat16``.

    Attributes:
        engine: What read the latest texts: ``shared prefixes`` or ``definition``.
        fallback: Why that was the definition; None where it was not.
    """

    def __init__(self, base: Base, dtype: str = "float32") -> None:
        refuse(base)
        self.engine, self.fallback = SHARED, cast("str | None", None)
        self._base, self._dtype = base, dtype
        self._plain = Recipe(adapter=Full(), dtype=cast("Any", dtype))
        self._fast: Reader | None = None
        self._doubt = ""
        self._longest = 0  # tokens of what was held against the definition

    def __call__(self, items: Sequence[TextItem]) -> Scores:
        """Scores Q texts.

        Raises:
            InputError: Where the definition cannot read them either.
        """
        why = self._doubt or serial_because(self._base, self._plain, (), items)
        if items and not why:
            try:
                self._doubt = self._try(items)
                if self._fast is not None and not self._doubt:
                    self.engine, self.fallback = SHARED, None
                    return self._fast.read(items)
            except InputError:
                raise
            except Exception as error:
                self._doubt = first_line(error)
            why = self._doubt
            warn_of_fallback(self._base, "reading texts", DEFINITION, why)
        self.engine, self.fallback = DEFINITION, why or None
        return serial.evaluate(self._base, self._plain, items)

    def _try(self, items: Sequence[TextItem]) -> str:
        """Checks the first texts, and those that are much longer than what was checked."""
        longest = max(len(item.ids) for item in items)
        if longest <= 2 * self._longest:
            return ""
        self._longest = longest
        doubt = doubt_reader(self._base, self._dtype, self._plain, items)
        if not doubt and self._fast is None:
            self._fast = Reader(self._base, self._dtype)
        return doubt
