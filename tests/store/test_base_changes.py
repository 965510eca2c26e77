"""What changed between two bases, probe by probe, on a few rows that were worked by hand."""

from __future__ import annotations

import pytest

from einfluence.store.views import create
from tests.metrics.conftest import cell_row, make_store

BEFORE = {("a", "a"): 9.0, ("a", "x"): 3.0, ("a", "y"): 2.0, ("a", "z"): -1.0, ("b", "x"): 1.0, ("b", "y"): 2.0}


def test_rows_of_two_bases_are_compared_without_the_probe_itself() -> None:
    after = {("a", "a"): -9.0, ("a", "x"): 0.5, ("a", "y"): 1.5, ("a", "z"): 0.0, ("b", "x"): 0.0, ("b", "y"): 0.0}
    rows = [{**cell_row(probe, query, value), "base": "tuned"} for (probe, query), value in after.items()]
    store = make_store(BEFORE, extra_rows=[*rows, {**cell_row("a", "w", 7.0), "base": "tuned"}])
    store.execute("drop table base_changes")
    store.execute("update influence set engine_version = '1'")
    create(store, "base_changes")
    found = {
        (base, other, probe): rest
        for base, other, probe, *rest in store.execute(
            "select base, other_base, probe_id, queries, spearman, size, other_size from base_changes"
        ).fetchall()
    }
    # Ranks of 3 2 -1 and 0.5 1.5 0: 3 2 1 and 2 3 1, that is 1 - 6 * 2 / 24; w is at one base alone.
    assert found["b", "tuned", "p:a"] == [3, pytest.approx(0.5), pytest.approx(2.0), pytest.approx(2 / 3)]
    assert found["tuned", "b", "p:a"] == [3, pytest.approx(0.5), pytest.approx(2 / 3), pytest.approx(2.0)]
    assert found["b", "tuned", "p:b"] == [2, None, pytest.approx(1.5), 0.0]  # all alike after: no order
    assert len(found) == 4


def test_another_recipe_or_seed_is_no_pair() -> None:
    rows = [
        {**cell_row("a", "x", 1.0, "finetune sgd"), "base": "tuned"},
        {**cell_row("a", "x", 1.0), "base": "tuned", "seed": 1},
    ]
    store = make_store(BEFORE, extra_rows=rows)
    store.execute("drop table base_changes")
    store.execute("update influence set engine_version = '1'")
    create(store, "base_changes")
    assert store.execute("select count(*) from base_changes").fetchone() == (0,)
