from __future__ import annotations

import json

import duckdb
import pytest

from einfluence.errors import InputError
from einfluence.metrics import matched


def grid(store, strengths: dict[str, float], scores: dict[str, float]) -> duckdb.DuckDBPyConnection:
    """Six probes with the same self-influence and paraphrase score in each recipe of a grid."""
    arms = {
        f"finetune {lr}": {
            **{(name, name): strengths[lr] for name in "abcdef"},
            **{(name, "p"): strengths[lr] * scores[lr] for name in "abcdef"},
        }
        for lr in strengths
    }
    connection = store(arms, kinds={(name, "p"): "paraphrase" for name in "abcdef"})
    for lr in strengths:
        fields = json.dumps({"lr": float(lr), "steps": 5, "optimizer": "sgd"})
        connection.execute("update recipes set json = $1 where recipe = $2", [fields, f"finetune {lr}"])
    return connection


def row(table, desideratum: str) -> dict:
    return next(r for r in table.to_pylist() if (r["desideratum"], r["variant"]) == (desideratum, "score"))


def test_scores_are_interpolated_in_the_logarithm_of_self_influence(store) -> None:
    connection = grid(store, {"0.1": 1.0, "0.2": 4.0}, {"0.1": 0.2, "0.2": 0.6})
    found = row(matched(connection, nats=2.0, draws=50), "paraphrase")
    assert found["value"] == pytest.approx(0.4)  # 2 lies halfway between 1 and 4 in logarithm
    assert found["n"] == 6
    assert found["recipe"] == 'matched at 2 nats: {"optimizer": "sgd"}'


def test_nothing_is_extrapolated(store) -> None:
    connection = grid(store, {"0.1": 1.0, "0.2": 4.0}, {"0.1": 0.2, "0.2": 0.6})
    found = row(matched(connection, nats=5.0, draws=50), "paraphrase")
    assert (found["value"], found["n"], found["excluded"]) == (None, 0, 6)


def test_one_recipe_is_no_grid(store) -> None:
    assert matched(grid(store, {"0.1": 1.0}, {"0.1": 0.2})).num_rows == 0
    with pytest.raises(InputError, match="above 0"):
        matched(grid(store, {"0.1": 1.0}, {"0.1": 0.2}), nats=0.0)
