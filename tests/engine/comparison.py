"""Holding an engine against the serial definition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from einfluence.engine import definition
from einfluence.engine.contract import Engine
from einfluence.engine.measurement import Item, Measurement
from einfluence.engine.schedule import Probe, Training, as_training, probe_training
from einfluence.models.base import Base
from einfluence.spec import Recipe


def sequence(items: Sequence[Item], recipe: Recipe) -> Training[Item]:
    """A probe whose samples are trained one after the other."""
    return probe_training(items, recipe.steps, sequential=True)


def ask(engine: Any, probes: Sequence[Probe], queries: Sequence[Item], kept: Any = None) -> Measurement:
    """What an engine measures; it has the recipe that says how long plain samples are trained on."""
    asked: Engine = engine
    return asked.measure([as_training(probe, engine.recipe.steps) for probe in probes], queries, kept or {})


def influences(found: Any) -> np.ndarray:
    """(N, Q) influence of what ``measure`` returned."""
    before, rows = found
    return np.array([after.logprob - before.logprob for _, _, after in rows])


def assert_equal_to_definition(
    engine: Any,
    base: Base,
    recipe: Recipe,
    probes: Sequence[Probe],
    queries: Sequence[Item],
    seed: int,
    tolerance: float,
) -> None:
    """Influence within ``tolerance`` of the largest entry, and everything else that is told of a probe."""
    expected_before, expected = definition.measure(base, recipe, probes, queries, seed)
    before, rows = engine.measure([as_training(probe, recipe.steps) for probe in probes], queries, {})
    truth, found = list(expected), list(rows)
    assert [index for index, _, _ in found] == list(range(len(probes)))
    wanted = np.array([after.logprob - expected_before.logprob for _, _, after in truth])
    got = np.array([after.logprob - before.logprob for _, _, after in found])
    largest = np.abs(wanted).max()
    assert largest > 0.01, "the case says nothing if nothing happens"
    assert np.abs(wanted - got).max() <= tolerance * largest
    np.testing.assert_allclose(before.logprob, expected_before.logprob, atol=max(tolerance, 1e-6))
    np.testing.assert_array_equal(before.n_tokens, expected_before.n_tokens)
    for (_, told, said), (_, true, meant) in zip(found, truth, strict=True):
        np.testing.assert_array_equal(said.rank, meant.rank)
        np.testing.assert_allclose(told.losses, true.losses, atol=max(tolerance, 1e-6) * 10)
        np.testing.assert_allclose(told.grad_norm, true.grad_norm, rtol=max(tolerance, 1e-6) * 10)
        np.testing.assert_allclose(told.update_norm, true.update_norm, rtol=max(tolerance, 1e-6) * 10)
        assert told.layer_updates.keys() == true.layer_updates.keys()
        for name, (change, norm) in true.layer_updates.items():
            np.testing.assert_allclose(told.layer_updates[name][1], norm, rtol=1e-5)
            np.testing.assert_allclose(told.layer_updates[name][0], change, atol=1e-5 * max(true.update_norm, 1e-9))
