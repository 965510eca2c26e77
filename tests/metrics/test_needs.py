"""Models that are not run, because a table that they need has no rows, would have had none."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from einfluence.metrics import models, per_probe
from einfluence.metrics.needs import NEEDS
from tests.metrics.conftest import Connection, make_store
from tests.metrics.trained import trained_store

PAIRS = [(probe, query) for probe in "abc" for query in "abcde"]
CELLS = {pair: 0.1 * place - 0.3 * (place % 4) for place, pair in enumerate(PAIRS, start=1)}
KINDS = {("a", "b"): "paraphrase", ("a", "c"): "negation", ("b", "d"): "entailed", ("c", "e"): "sibling"}


def alone() -> Connection:
    return make_store(CELLS, kinds=KINDS, updates={("a", 0): 1.0, ("a", 1): 2.0})


def estimated() -> Connection:
    return make_store({"finetune": CELLS, "grad_dot": CELLS}, kinds=KINDS, stands_for={"grad_dot": "finetune"})


def in_a_set() -> Connection:
    drawn = {"ab": {"a": -0.1, "b": -0.2, "c": -2.0}, "bc": {"a": -1.0, "b": -0.3, "c": -0.2}}
    return trained_store("abc", full=dict.fromkeys("abc", -0.4), subsets=drawn, cells={"subsets": CELLS})


@pytest.mark.parametrize(("made", "has"), [
    (alone, {"layer_updates", "mart_claims"}), (estimated, {"stg_estimates", "mart_claims"}),
    (in_a_set, {"training_set_members"}),
])  # fmt: skip
def test_models_that_are_not_run_would_have_had_no_rows(
    monkeypatch: pytest.MonkeyPatch, made: Callable[[], Connection], has: set[str]
) -> None:
    connection = made()
    with models.modelled(connection) as run:
        skipped = {name for name in NEEDS if run.needless(name)}
    assert skipped == {name for name, needed in NEEDS.items() if not set(needed) <= has}
    found = per_probe(connection)
    monkeypatch.setattr(models, "NEEDS", {})
    assert len(found) and per_probe(connection).equals(found)
