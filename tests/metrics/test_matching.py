from __future__ import annotations

import json
import math
from typing import Any

import duckdb
import pytest

from einfluence.errors import InputError
from einfluence.metrics import matched, score
from einfluence.metrics.matching import common_dose
from einfluence.metrics.scoring import scored
from einfluence.recipe import Recipe

PROBES = "abcdef"


def grid(store, strengths: dict[str, float], scores: dict[str, float], **fields: Any) -> duckdb.DuckDBPyConnection:
    """Six probes with the same self-influence and paraphrase score in each recipe of a grid, named by learning rate."""
    arms = {
        f"finetune {lr}": {
            **{(name, name): strengths[lr] for name in PROBES},
            **{(name, "p"): strengths[lr] * scores[lr] for name in PROBES},
        }
        for lr in strengths
    }
    connection = store(arms, kinds={(name, "p"): "paraphrase" for name in PROBES})
    for lr in strengths:
        recipe = {"lr": float(lr), "steps": 5, "optimizer": "sgd", **fields}
        change(connection, f"finetune {lr}", recipe)
    return connection


def change(
    connection: duckdb.DuckDBPyConnection, recipe: str, fields: dict[str, Any], label: str | None = None
) -> None:
    connection.execute("update recipes set json = $1 where recipe = $2", [json.dumps(fields), recipe])
    if label:
        connection.execute("update recipes set label = $1 where recipe = $2", [label, recipe])


def row(table, desideratum: str, variant: str = "score") -> dict[str, Any]:
    return next(r for r in table.to_pylist() if (r["desideratum"], r["variant"]) == (desideratum, variant))


def test_scores_are_interpolated_in_the_logarithm_of_self_influence(store) -> None:
    connection = grid(store, {"0.1": 1.0, "0.2": 4.0}, {"0.1": 0.2, "0.2": 0.6})
    change(connection, "finetune 0.1", {"lr": 0.1, "steps": 5}, "full, SGD, lr 0.1 × 5")
    change(connection, "finetune 0.2", {"lr": 0.2, "steps": 5}, "full, SGD, lr 0.2 × 5")
    found = row(matched(connection, nats=2.0, draws=50), "paraphrase")
    assert found["value"] == pytest.approx(0.4)  # 2 lies halfway between 1 and 4 in logarithm
    assert (found["n"], found["nats"], found["label"]) == (6, 2.0, "full, SGD")
    assert found["recipes"] == ["finetune 0.1", "finetune 0.2"]
    # The null is 0 without unrelated queries, the ideal 1: the bar stands at a quarter, and every draw gives 0.4.
    assert (found["start"], found["bar"], found["verdict"]) == (0.0, 0.25, "met")


def test_nothing_is_extrapolated(store) -> None:
    connection = grid(store, {"0.1": 1.0, "0.2": 4.0}, {"0.1": 0.2, "0.2": 0.6})
    found = row(matched(connection, nats=5.0, draws=50), "paraphrase")
    assert (found["value"], found["n"], found["excluded"]) == (None, 0, 6)
    assert (found["note"], found["verdict"]) == ("no probe learned itself (6 excluded)", "cannot tell")


def test_each_probe_is_read_off_between_its_own_recipes_on_either_side(store) -> None:
    own = {"finetune 1": [0.5, 1.0, 1.0, 2.0, 3.0, 1.0, 1.0], "finetune 2": [1.5, 4.0, 8.0, 9.0, 4.0, 4.0, 16.0],
           "finetune 3": [-1.0, 1.5, 2.0, 1.0, 9.0, -1.0, -1.0]}  # fmt: skip
    share = {"finetune 1": 0.1, "finetune 2": 0.3, "finetune 3": 0.7}
    names = "abcdefg"
    arms = {
        arm: {**{(name, name): each[i] for i, name in enumerate(names)},
              **{(name, "n"): each[i] * share[arm] for i, name in enumerate(names)}}
        for arm, each in own.items()
    }  # fmt: skip
    connection = store(arms, kinds={(name, "n"): "negation" for name in names})
    for arm in arms:
        change(connection, arm, {"lr": float(arm.split()[1]), "steps": 1})
    found = row(matched(connection, nats=2.0, draws=50), "negation")
    # a does not reach 2 (its third recipe did not teach it), e is never as weak as 2. c learned itself by exactly 2 by
    # recipe 3, d by recipe 1: 0.7 and 0.1. b lies between recipe 3 at 1.5 and recipe 2 at 4; f halfway in logarithm
    # between 1 and 4, g a quarter of the way from 1 to 16: (0.1 + 0.3) / 2 and 0.1 + 0.2 / 4.
    b = 0.7 - 0.4 * math.log(2 / 1.5) / math.log(4 / 1.5)
    assert 0.57 < b < 0.7
    assert found["value"] == pytest.approx(sorted([b, 0.7, 0.1, 0.2, 0.15])[2]) == pytest.approx(0.2)
    assert (found["n"], found["excluded"], found["note"]) == (5, 2, "2 not learned")


def test_equally_strong_recipes_count_with_their_mean(store) -> None:
    connection = grid(store, {"0.1": 2.0, "0.2": 2.0, "0.3": 8.0}, {"0.1": 0.2, "0.2": 0.6, "0.3": 0.0})
    assert row(matched(connection, nats=2.0, draws=50), "paraphrase")["value"] == pytest.approx(0.4)
    assert row(matched(connection, nats=4.0, draws=50), "paraphrase")["value"] == pytest.approx(0.2)


def test_one_recipe_is_no_grid(store) -> None:
    assert matched(grid(store, {"0.1": 1.0}, {"0.1": 0.2})).num_rows == 0
    with pytest.raises(InputError, match="above 0"):
        matched(grid(store, {"0.1": 1.0}, {"0.1": 0.2}), nats=0.0)


@pytest.mark.parametrize("optimizer", ["sgd", {"kind": "sgd", "lr": None}])
def test_recipes_that_differ_in_more_than_rate_and_steps_are_no_grid(store, optimizer: Any) -> None:
    def fields(lr: float, clip: float | None) -> dict[str, Any]:
        inner = optimizer if isinstance(optimizer, str) else {**optimizer, "lr": lr}
        return {"steps": 5, "optimizer": inner, "clip": clip, **({"lr": lr} if isinstance(optimizer, str) else {})}

    connection = grid(store, {"0.1": 1.0, "0.2": 4.0}, {"0.1": 0.2, "0.2": 0.6})
    for recipe, clip in (("finetune 0.1", None), ("finetune 0.2", None)):
        change(connection, recipe, fields(float(recipe.split()[1]), clip))
    assert matched(connection, draws=20).num_rows > 0
    change(connection, "finetune 0.2", fields(0.2, 1.0))
    assert matched(connection, draws=20).num_rows == 0


@pytest.mark.parametrize("adapter", ["lora", "full", {"kind": "match", "pattern": "head"}])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_recipes_that_earlier_versions_wrote_with_the_fields_of_all_kinds_stand_in_one_grid_with_those_of_today(
    store, adapter: Any, optimizer: str
) -> None:
    connection = grid(store, {"0.1": 1.0, "0.2": 4.0}, {"0.1": 0.2, "0.2": 0.6})
    today = Recipe.model_validate({"adapter": adapter, "optimizer": optimizer, "lr": 0.2, "steps": 5}).written
    every: dict[str, Any] = {"alpha": 16.0, "layers": None, "pattern": None, "r": 8, "targets": "all-linear"}
    before = {"adapter": {**every, **today["adapter"]}, "betas": [0.9, 0.999], "clip": None, "dtype": "float32",
              "eps": 1e-8, "lr": 0.1, "momentum": 0.0, "optimizer": optimizer, "steps": 5,
              "weight_decay": 0.0}  # fmt: skip
    change(connection, "finetune 0.1", before)
    change(connection, "finetune 0.2", today)
    found = row(matched(connection, nats=2.0, draws=50), "paraphrase")
    assert found["recipes"] == ["finetune 0.1", "finetune 0.2"]
    change(connection, "finetune 0.1", {**before, "adapter": {**before["adapter"], "kind": "last"}})
    assert matched(connection, draws=20).num_rows == 0


def test_all_grids_of_a_base_are_read_off_at_one_dose_that_each_has_a_recipe_near() -> None:
    # At 2 both grids have a recipe no farther than 1.5 times; at 3 too; from 1, 4 and 12 one grid is farther off.
    assert common_dose({0: 1.0, 1: 2.0, 2: 3.0, 3: 12.0, 4: 4.0}, [[0, 1, 4], [2, 3]]) == 3.0
    assert common_dose({0: 1.0, 1: 8.0}, [[0], [1]]) == 1.0  # equally near: the smaller
    assert common_dose({0: -1.0}, [[0, 1]]) is None


def test_scoring_writes_what_asking_for_the_matched_dose_gives(store) -> None:
    connection = grid(store, {"0.1": 1.0, "0.2": 4.0, "0.4": 5.0}, {"0.1": 0.2, "0.2": 0.6, "0.4": 0.9})
    tables = scored(connection, draws=50)
    assert tables["matched"].equals(matched(connection, draws=50)) and tables["desiderata"].num_rows
    assert tables["desiderata"].equals(score(connection, draws=50))
    assert set(tables["matched"]["nats"].to_pylist()) == {1.0}  # each arm is as near as can be: the smallest of them


def test_a_recipe_without_json_or_of_another_estimator_is_in_no_grid(store) -> None:
    connection = grid(store, {"0.1": 1.0, "0.2": 4.0}, {"0.1": 0.2, "0.2": 0.6})
    for text in ("{", None, "[]", '{"lr": 1}'):
        connection.execute("update recipes set json = $1 where recipe = 'finetune 0.2'", [text])
        assert matched(connection, draws=20).num_rows == 0
