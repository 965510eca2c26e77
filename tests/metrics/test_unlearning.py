"""How near unlearned models come to retrainings, on a few rows worked by hand (the working is in the comments)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from einfluence.metrics import score
from einfluence.metrics.resample import Column, Resampling
from tests.metrics.trained import trained_store, unlearn

MEMBERS = "abcdefghijkl"
GONE, REST, HELD_OUT = "abcde", "fghijkl", "uvwxyz"
FULL = {name: -0.5 for name in MEMBERS} | dict.fromkeys(HELD_OUT, -2.0)
CELLS = {("a", query): 0.5 for query in FULL}
WITHOUT = {**FULL, **dict.fromkeys(GONE, -2.5)}


def close(number: float) -> Any:
    return pytest.approx(number, rel=1e-12, abs=1e-12)


def store(said: Mapping[str, float], retrained: Mapping[str, float] = WITHOUT, **about: Any) -> Any:
    made = trained_store(MEMBERS, full=FULL, cells={"leave_one_out": CELLS})
    unlearn(made, MEMBERS, GONE, said, retrained,
            **{"method": "fine_tune", "about": "forget.txt", "cost": 0.25, **about})  # fmt: skip
    return made


def lines(connection: Any) -> dict[str, dict[str, Any]]:
    rows = score(connection, draws=200).to_pylist()
    return {row["variant"]: row for row in rows if row["desideratum"] == "unlearning" and row["domain"] == "all"}


def test_the_gap_closed_is_one_less_the_median_gap_left_over_the_median_gap_that_there_was() -> None:
    # Of the five forgotten the full model is 2 nats off; after unlearning 1, 1, 0.5, 2, 0: the median is 1 of 2.
    said = {**FULL, "a": -1.5, "b": -1.5, "c": -2.0, "d": -4.5, "e": -2.5}
    found = lines(store(said))
    forget = found["fine_tune of forget.txt: gap closed, forget"]
    assert (forget["value"], forget["null_value"], forget["ideal"]) == (close(0.5), 0.0, 1.0)
    assert (forget["formula"], forget["kind"], forget["n"]) == ("gap closed", "forget", 5)
    assert forget["partner"] == "fine_tune of forget.txt" and forget["estimator"] == "leave_one_out"
    # On the rest the full model is the retraining: there is no gap, and nothing to say.
    assert found["fine_tune of forget.txt: gap closed, rest"]["value"] is None
    moved = {**WITHOUT, **dict.fromkeys(HELD_OUT, -3.0)}  # where the full model is 1 off, and the unlearned 2
    worse = lines(store({**FULL, **dict.fromkeys(HELD_OUT, -1.0)}, moved))
    assert worse["fine_tune of forget.txt: gap closed, held out"]["value"] == close(-1.0)


def test_tow_is_the_product_of_the_three_agreements_in_accuracy_with_the_retraining() -> None:
    # A target is in the first rank from -1 nat up. The retraining gets 0 of 5 forgotten right, the unlearned model 2;
    # of 7 others 7 and 6; of 6 held out 0 and 3. The full model gets all 5 forgotten right, and all else as retrained.
    said = {**WITHOUT, "a": -0.5, "b": -0.5, "f": -3.0, "u": -0.1, "v": -0.1, "w": -0.1}
    row = lines(store(said))["fine_tune of forget.txt: tow"]
    assert (row["value"], row["null_value"]) == (close((1 - 2 / 5) * (1 - 1 / 7) * (1 - 3 / 6)), close(0.0))
    assert (row["ideal"], row["p_value"], row["n"]) == (1.0, None, 18)
    assert 0 <= row["ci_low"] <= row["value"] <= row["ci_high"] <= 1
    assert lines(store(WITHOUT))["fine_tune of forget.txt: tow"]["value"] == 1.0


def test_membership_is_the_area_under_the_curve_of_forgotten_against_held_out() -> None:
    draw = np.random.default_rng(6)
    said, retrained = ({name: float(np.round(draw.normal(), 1)) for name in FULL} for _ in range(2))
    found = lines(store(said, retrained))
    truth = [1] * len(GONE) + [0] * len(HELD_OUT)
    own, other = (roc_auc_score(truth, [each[name] for name in GONE + HELD_OUT]) for each in (said, retrained))
    row = found["fine_tune of forget.txt: auc"]
    assert (row["value"], row["null_value"], row["verdict"]) == (close(own), close(1.0), "described")
    assert found["retrained without forget.txt: auc"]["value"] == close(other)


def test_the_cost_is_a_share_of_a_retraining_and_met_at_a_tenth() -> None:
    for cost, verdict in ((0.25, "violated"), (0.1, "met"), (1.5, "violated")):
        row = lines(store(FULL, cost=cost))["fine_tune of forget.txt: cost"]
        assert (row["value"], row["ci_low"], row["ci_high"], row["verdict"]) == (*[close(cost)] * 3, verdict)


def test_the_ceiling_is_the_retraining_at_another_seed() -> None:
    made = trained_store(MEMBERS, full=FULL, cells={"leave_one_out": CELLS})
    again = {**WITHOUT, **dict.fromkeys(GONE, -2.25)}  # a quarter of a nat off where the full model is 2
    unlearn(made, MEMBERS, GONE, FULL, WITHOUT, again, method="fine_tune", about="forget.txt", cost=0.25)
    row = lines(made)["another seed without forget.txt: gap closed, forget"]
    assert (row["value"], row["formula"], row["verdict"]) == (close(1 - 0.25 / 2), "ceiling", "described")


def test_two_forget_sets_of_one_name_are_told_apart_and_what_an_arm_chose_is_its_own() -> None:
    made = store(FULL)
    unlearn(made, MEMBERS, "fghij", FULL, FULL, method="fine_tune", about="forget.txt", cost=0.5)
    costs = {name: row["value"] for name, row in lines(made).items() if name.endswith(": cost")}
    assert costs == {
        "fine_tune of forget.txt (abcde,): cost": 0.25,
        "fine_tune of forget.txt (fghij,): cost": 0.5,
    }
    chosen = lines(store(FULL, about="5 most memorised by leave_one_out", chosen_by="leave_one_out"))
    assert "fine_tune of 5 most memorised by leave_one_out: cost" in chosen
    assert lines(store(FULL, chosen_by="another")) == {}


def test_a_training_that_failed_is_in_no_figure() -> None:
    assert lines(store({name: float("nan") for name in FULL})) == {}


def test_where_no_gap_was_there_is_none_to_close_and_a_draw_without_a_part_counts_for_nothing() -> None:
    n = 12
    value, cluster, nothing = np.ones(n), np.arange(n), np.full(n, np.nan)
    assert np.isnan(Resampling().estimate(Column(value, cluster, np.zeros(n), np.zeros(n)), "closed").value)
    assert np.isnan(Resampling().estimate(Column(value, cluster, np.ones(n), nothing), "agreement").value)
    part = np.array([1.0] + [2.0] * 5 + [3.0] * 6)
    found = Resampling().estimate(Column(value * 0, cluster, part, nothing), "agreement")
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)
