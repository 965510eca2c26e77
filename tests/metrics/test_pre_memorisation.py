"""Pre-memorisation accuracy on a few numbers whose answer was worked by hand (the working is in the comments)."""

from __future__ import annotations

from typing import Any

import duckdb
import numpy as np
import pytest

from einfluence.metrics import per_probe, score
from einfluence.store.views import create
from tests.metrics.trained import trained_store

# a is asked in two other ways, A and B; b in one, C; c in none. q and r are held out. From -1 nat up is a first choice.
CLAIMS = {("a", "A"): "paraphrase", ("a", "B"): "paraphrase", ("b", "C"): "paraphrase", ("b", "N"): "negation"}
ALONG = {
    1: {"a": -2.0, "A": -0.5, "B": -3.0, "b": -0.5, "C": -2.0, "c": -1.0, "q": -3.0, "r": -3.0, "N": -0.1},
    2: {"a": -0.2, "A": -0.5, "B": -3.0, "b": -0.05, "C": -0.5, "c": -1.0, "q": -3.0, "r": -3.0, "N": -0.1},
}
END = {"a": -0.01, "A": -0.1, "B": -0.1, "b": -0.02, "C": -0.1, "c": -0.1, "q": -0.5, "r": -3.0, "N": -0.1}
CELLS = {"leave_one_out": {(probe, query): 0.5 for probe in "abc" for query in END}}


def close(number: float) -> Any:
    return pytest.approx(number, rel=1e-12, abs=1e-12)


def found(store: duckdb.DuckDBPyConnection) -> dict[str, dict[str, tuple[float, float | None]]]:
    """Value and null by sample or query, by variant."""
    by_variant: dict[str, dict[str, tuple[float, float | None]]] = {}
    for row in per_probe(store).to_pylist():
        if row["desideratum"] == "pre_memorisation":
            assert row["recipe"] == "leave_one_out"
            by_variant.setdefault(row["variant"], {})[row["probe"]] = (row["value"], row["null_value"])
    return by_variant


def test_what_is_answered_before_a_sample_is_known_by_heart() -> None:
    rows = found(trained_store("abc", full=END, watched=ALONG, cells=CELLS, claims=CLAIMS))
    # τ 0.1: a is known by heart from the end on; before, half of its paraphrases were answered, at the end all.
    # b has 0.5 nats at step 1 (C unanswered), and is known by heart when C is answered.
    assert rows["accuracy"] == {"a": (0.5, 1.0), "b": (0.0, 1.0)}
    # τ 0.3: a is known by heart from step 2 on, whose half counts at step 1. τ 0.03: b not before the end.
    assert rows["accuracy, τ 0.3"]["a"] == (0.5, 1.0)
    assert rows["accuracy, τ 0.03"]["b"] == (1.0, 1.0)
    assert rows["accuracy, τ 1"]["b"] == (0.0, 1.0)
    # Of what is held out q is answered, r not; a's and b's paraphrases, and b's negation, are none of it.
    assert rows["accuracy, held out"] == {"q": (1.0, None), "r": (0.0, None)}
    assert rows["gap"] == {"a": (0.0, 0.5), "b": (-0.5, 0.5)}


def test_what_a_second_stage_trains_on_is_neither_held_out_nor_an_answer() -> None:
    store = trained_store("abc", full=END, watched=ALONG, cells=CELLS, claims=CLAIMS)
    store.execute("""update training_sets set json = '{"then": {"samples": ["q", "B"]}}'""")
    for view in ("trained_on", "unlearning"):
        create(store, view)
    rows = found(store)
    # A alone is an answer of a: always right before a is known by heart. Of q, which is right, nothing is held out.
    assert rows["accuracy"]["a"] == (1.0, 1.0)
    assert rows["accuracy, held out"] == {"r": (0.0, None)}
    assert rows["gap"]["a"] == (1.0, 1.0)
    stages = store.sql("select sample_id, stage from trained_on order by all").fetchall()
    assert stages == [("B", 2), ("a", 1), ("b", 1), ("c", 1), ("q", 2)]


def test_what_is_lost_again_does_not_count() -> None:
    end = {**END, "A": -2.0, "B": -2.0}
    rows = found(trained_store("abc", full=end, watched=ALONG, cells=CELLS, claims=CLAIMS))
    assert rows["accuracy"]["a"] == (0.0, 0.0)


def test_the_threshold_that_was_fixed_beforehand_has_no_mark_and_the_others_theirs() -> None:
    store = trained_store("abc", full=END, watched=ALONG, cells=CELLS, claims=CLAIMS)
    rows = [row for row in score(store, draws=20).to_pylist() if row["desideratum"] == "pre_memorisation"]
    levels = {row["variant"]: row["level"] for row in rows if row["formula"] == "gap"}
    assert levels == {"gap": 0.1, **{f"gap, τ {tau:g}": tau for tau in (0.01, 0.03, 0.3, 1.0)}}


def test_without_a_watch_or_without_paraphrases_there_are_no_rows() -> None:
    for store in (
        trained_store("abc", full=END, cells=CELLS, claims=CLAIMS),
        trained_store("abc", full=END, watched=ALONG, cells=CELLS),
        trained_store("abc", watched=ALONG, cells=CELLS, claims=CLAIMS),
    ):
        assert found(store) == {}


def test_rows_stand_with_one_arm_of_a_way_of_training_the_intervention_before_its_estimates(values) -> None:
    cells = {name: CELLS["leave_one_out"] for name in ("dot!", "leave_one_out", "subsets")}
    store = trained_store("abc", full=END, watched=ALONG, cells=cells, claims=CLAIMS)
    assert set(found(store)["accuracy"]) == {"a", "b"}  # all of leave_one_out


def test_it_is_the_formula_by_arrays() -> None:
    draw, names = np.random.default_rng(3), [chr(97 + place) for place in range(12)]
    nats = np.exp(draw.normal(-2, 1.5, (6, 12)))  # of the samples at five steps and the end
    said = draw.random((6, 12, 2)) < 0.5
    steps = [
        {**{name: -float(nats[step, place]) for place, name in enumerate(names)}, "zq": -3.0,
         **{f"{name}{way}": -0.5 if said[step, place, way] else -2.0 for place, name in enumerate(names)
            for way in range(2)}}
        for step in range(6)
    ]  # fmt: skip
    claims = {(name, f"{name}{way}"): "paraphrase" for name in names for way in range(2)}
    cells = {"leave_one_out": {(name, query): 0.5 for name in names for query in steps[0]}}
    store = trained_store(names, full=steps[5], watched=dict(enumerate(steps[:5], 1)), cells=cells, claims=claims)
    accuracy = said.mean(2)
    rows = {
        row["variant"]: row for row in score(store, draws=20).to_pylist() if row["desideratum"] == "pre_memorisation"
    }
    for variant, tau in (("", 0.1), (", τ 0.01", 0.01), (", τ 1", 1.0)):
        wanted = np.minimum((accuracy * (nats >= tau)).max(0), accuracy[5]).mean()
        assert rows[f"accuracy{variant}"]["value"] == close(wanted)
        assert rows[f"accuracy{variant}"]["null_value"] == close(accuracy[5].mean())
