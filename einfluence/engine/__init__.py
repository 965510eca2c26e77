"""Engines: what turns probes and queries into log-probabilities before and after.

:mod:`einfluence.engine.definition` defines every number; the fast engines are tested equal to it.
:mod:`einfluence.engine.select` chooses the one that measures.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from einfluence.engine.ablation import LayerAblation
from einfluence.engine.ablation import ablate_layers as _ablate_layers
from einfluence.engine.check import FallbackWarning, Trial, definition_because, refuse, warn_of_fallback
from einfluence.engine.checked_scorer import SHARED, CheckedScorer
from einfluence.engine.forecast import Forecast, combined, rehearse
from einfluence.engine.measurement import ImageItem, Item, MeasuredRow, Measurement, Scores, TextItem, Tuned
from einfluence.engine.noise import NoiseWarning, with_noise
from einfluence.engine.outcomes import merge
from einfluence.engine.pieces import Piece, Piecewise, only
from einfluence.engine.precise import refuse_float64
from einfluence.engine.schedule import Probe, Step, Training, as_training, probe_training
from einfluence.engine.select import Choice, choose
from einfluence.errors import InputError, first_line
from einfluence.models.base import Base
from einfluence.spec import Recipe

__all__ = [
    "SHARED",
    "FallbackWarning",
    "ImageItem",
    "Item",
    "MeasuredRow",
    "Measurement",
    "NoiseWarning",
    "Forecast",
    "Piece",
    "Probe",
    "LayerAblation",
    "Scores",
    "Step",
    "TextItem",
    "CheckedScorer",
    "Training",
    "Tuned",
    "forecast",
    "measure",
    "probe_training",
    "ablate_layers",
    "train",
]

Trainings = Sequence[Training[Item]]


def measure(
    base: Base,
    recipe: Recipe,
    probes: Sequence[Probe],
    queries: Sequence[Item],
    seed: int,
    *,
    kept: Mapping[int, dict[str, Tensor]] | None = None,
    engine: str = "auto",
    pieces: Sequence[Piece] | None = None,
) -> Measurement:
    """Measures every query before, and after training on each probe.

    Args:
        base: The model; it is left bit-identical.
        recipe: How to train.
        probes: N trainings; a plain sequence of samples is trained together at each of the recipe's steps.
        queries: Q samples.
        seed: Seed of the adapter's initialisation.
        kept: For the index of a probe, the ``delta`` of an earlier training, which is used instead of a new one.
        engine: ``auto`` takes the fastest that is exact; ``serial`` the definition.
        pieces: Only these cells have to be measured; others may have a log-probability of NaN after training.

    Raises:
        InputError: When the recipe does not fit the base, or the base cannot read the queries.
    """
    refuse(base)
    if engine not in ("auto", "serial"):
        raise InputError("engine", repr(engine), "`auto` or `serial`")
    trainings = [as_training(probe, recipe.steps) for probe in probes]
    groups = [{i: trainings[i] for i in group} for group in _alike(trainings)]
    return merge([_measure(base, recipe, group, queries, seed, kept or {}, engine, pieces) for group in groups or [{}]])


def _alike(trainings: Trainings) -> list[list[int]]:
    """Indices of the trainings that go through their samples in the same way."""
    ways = ("joint", "sequential", "scheduled")
    groups = [[i for i, training in enumerate(trainings) if training.kind == way] for way in ways]
    return [group for group in groups if group]


def _measure(
    base: Base,
    recipe: Recipe,
    numbered: Mapping[int, Training[Item]],
    queries: Sequence[Item],
    seed: int,
    kept: Mapping[int, dict[str, Tensor]],
    engine: str,
    pieces: Sequence[Piece] | None,
) -> Measurement:
    """Measures trainings that go through their samples in the same way, by their number."""
    numbers, trainings = list(numbered), list(numbered.values())
    choice = _chosen(base, recipe, trainings, queries, seed, engine, kept=bool(kept))
    if pieces is not None:
        choice = replace(choice, engine=Piecewise(choice.engine, only(pieces, numbers)))
    kept = {place: kept[n] for place, n in enumerate(numbers) if n in kept and choice.engine.accepts(kept[n])}
    found = _by(choice, base, recipe, trainings, queries, seed, kept)

    def again(other: Recipe, few: Trainings, some: Sequence[Item]) -> Measurement:
        return choice.candidate.build(base, other, seed).measure(few, some, {})

    before, rows = with_noise(again, base, recipe, trainings, queries, found)
    return Measurement(before, (row._replace(probe=numbers[row.probe]) for row in rows))


def _chosen(
    base: Base,
    recipe: Recipe,
    trainings: Trainings,
    queries: Sequence[Item],
    seed: int,
    engine: str = "auto",
    *,
    kept: bool = False,
    ablates: bool = False,
) -> Choice:
    """The fastest engine that passes its trial, for trainings that go through their samples in the same way.

    Raises:
        InputError: When the recipe is in float64 and the device has none.

    Warns:
        FallbackWarning: Where a faster one did not.
    """
    refuse_float64(base, recipe)
    items = (item for some in (queries, *(training.items for training in trainings)) for item in some)
    because = "requested" if engine == "serial" else definition_because(base, items)
    if because:
        return Choice.definition(base, recipe, seed, because)
    trial = Trial(base, recipe, trainings, queries, seed, kept=kept, ablates=ablates)
    choice = choose(base, recipe, seed, trainings[0].kind if trainings else "joint", trial.disagreement)
    if not choice.expected or (choice.is_definition and choice.why):
        warn_of_fallback(base, recipe.label, choice.name, choice.why)
    return choice


def _instead(choice: Choice, base: Base, recipe: Recipe, seed: int, error: Exception) -> Choice:
    """The definition, for what an engine failed at on its way; what the definition itself fails at is raised.

    Warns:
        FallbackWarning: With the reason.
    """
    if choice.is_definition:
        raise error
    last = Choice.definition(base, recipe, seed, first_line(error))
    warn_of_fallback(base, recipe.label, last.name, last.why)
    return last


def _by(
    choice: Choice,
    base: Base,
    recipe: Recipe,
    trainings: Trainings,
    queries: Sequence[Item],
    seed: int,
    kept: Mapping[int, dict[str, Tensor]],
) -> Measurement:
    """Measures with an engine; where it fails on the way, the definition measures the trainings that are left."""

    def marked(by: Choice, row: MeasuredRow) -> MeasuredRow:
        return row._replace(tuned=replace(row.tuned, engine=by.name, fallback=by.why or None))

    def measured_by(last: Choice, done: int) -> Measurement:
        left = {i - done: delta for i, delta in kept.items() if i >= done and last.engine.accepts(delta)}
        return _by(last, base, recipe, trainings[done:], queries, seed, left)

    def each(before: Scores, rows: Iterator[MeasuredRow]) -> Iterator[MeasuredRow]:
        done = 0
        try:
            for row in rows:
                yield marked(choice, row)
                done += 1
            return
        except Exception as error:
            last = _instead(choice, base, recipe, seed, error)
        for row in merge([Measurement(before, iter(())), measured_by(last, done)]).rows:
            yield row._replace(probe=done + row.probe)

    try:
        before, rows = choice.engine.measure(trainings, queries, kept)
    except Exception as error:
        last = _instead(choice, base, recipe, seed, error)
    else:
        return Measurement(before, each(before, rows))
    return measured_by(last, 0)  # here, where the error no longer holds what the engine held


def forecast(
    base: Base,
    recipe: Recipe,
    probes: Sequence[Probe],
    queries: Sequence[Item],
    seed: int = 0,
    engine: str = "auto",
) -> Forecast:
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
    trainings = [as_training(probe, recipe.steps) for probe in probes]
    groups = [[trainings[i] for i in group] for group in _alike(trainings)] or [list[Training[Item]]()]

    def rehearsed(group: Trainings) -> Forecast:
        choice = _chosen(base, recipe, group, queries, seed, engine)
        try:
            return rehearse(choice, group, queries)
        except Exception as error:
            last = _instead(choice, base, recipe, seed, error)
        return rehearse(last, group, queries)

    return combined([rehearsed(group) for group in groups])


def train(base: Base, recipe: Recipe, probes: Sequence[Probe], seed: int) -> list[Tuned]:
    """Trains on N probes at once, each alone, without scoring anything; all N are held in memory."""
    trainings = [as_training(probe, recipe.steps) for probe in probes]
    tuned: dict[int, Tuned] = {}
    for group in _alike(trainings):
        some = [trainings[i] for i in group]
        items = [item for training in some for item in training.items]
        choice = _chosen(base, recipe, some, items, seed)
        try:
            found = choice.engine.train_all(some)
        except Exception as error:
            choice, found = _instead(choice, base, recipe, seed, error), None
        tuned |= dict(zip(group, choice.engine.train_all(some) if found is None else found, strict=True))
    return [tuned[i] for i in range(len(probes))]


def ablate_layers(
    base: Base,
    recipe: Recipe,
    probes: Sequence[Probe],
    queries: Sequence[Sequence[Item]],
    seed: int,
    *,
    kept: Mapping[int, dict[str, Tensor]] | None = None,
    engine: str = "auto",
) -> Iterator[tuple[int, LayerAblation | None, str | None]]:
    """Which of a probe's changes mattered: after training, the change of one layer at a time is undone.

    Args:
        base: The model; it is left bit-identical.
        recipe: How to train.
        probes: N probes, trained as :func:`measure` trains them.
        queries: Of each probe its own.
        seed: Seed of the adapter's initialisation.
        kept: For the index of a probe, the ``delta`` of an earlier training, which is used instead of a new one.
        engine: ``auto`` takes the fastest that is exact; ``serial`` the definition.

    Yields:
        For each probe in order its index, the scores of its queries (None when training failed), and why it failed.
    """
    refuse(base)
    trainings = [as_training(probe, recipe.steps) for probe in probes]
    groups = _alike(trainings)
    found = [_undoing(base, recipe, group, trainings, queries, seed, kept or {}, engine) for group in groups]
    return heapq.merge(*found, key=lambda row: row[0])


def _undoing(
    base: Base,
    recipe: Recipe,
    group: Sequence[int],
    every: Trainings,
    queried: Sequence[Sequence[Item]],
    seed: int,
    given: Mapping[int, dict[str, Tensor]],
    engine: str,
) -> Iterator[tuple[int, LayerAblation | None, str | None]]:
    """As :func:`ablate_layers`, of the trainings of one group."""
    some = [every[i] for i in group]
    flat = [query for i in group for query in queried[i]]
    choice, left = _chosen(base, recipe, some, flat, seed, engine, kept=bool(given), ablates=True), list(group)
    while True:
        kept = {place: given[i] for place, i in enumerate(left) if i in given and choice.engine.accepts(given[i])}
        rows = _ablate_layers(base, choice.engine, [every[i] for i in left], [queried[i] for i in left], kept)
        done = 0
        try:
            for place, trained, why in rows:
                yield left[place], trained, why
                done += 1
            return
        except Exception as error:
            choice = _instead(choice, base, recipe, seed, error)
        left = left[done:]
