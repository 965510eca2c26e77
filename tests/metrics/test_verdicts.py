"""Verdicts worked by hand: from a row's interval, null and ideal, and from what its model says of the way."""

from __future__ import annotations

from typing import Any

import pytest

from einfluence.metrics import compare, score
from einfluence.metrics.verdicts import compared, decided, judged


def row(**numbers: Any) -> dict[str, Any]:
    return {"value": 0.5, "ci_low": 0.4, "ci_high": 0.6, "ideal": 1.0, "null_value": 0.0, **numbers}


@pytest.mark.parametrize(
    ("numbers", "verdict"),
    [
        ({}, "met"),
        ({"ci_low": 0.25}, "met"),
        ({"value": 0.3, "ci_low": 0.2, "ci_high": 0.4}, "cannot tell"),  # straddles the quarter
        ({"value": 0.1, "ci_low": 0.05, "ci_high": 0.2}, "violated"),  # better than the null, but hardly
        ({"value": 0.2, "ci_low": 0.1, "ci_high": 0.25}, "cannot tell"),  # the bar itself is reached
        ({"value": -0.5, "ci_low": -0.7, "ci_high": -0.3}, "violated"),
        ({"value": 0.1, "ci_low": -0.4, "ci_high": 0.6}, "cannot tell"),
        ({"value": None, "ci_low": None, "ci_high": None}, "cannot tell"),
        ({"ci_low": None, "ci_high": None}, "cannot tell"),
    ],
)
def test_the_whole_interval_must_reach_a_quarter_of_the_way_from_null_to_ideal(
    numbers: dict[str, Any], verdict: str
) -> None:
    assert judged(row(**numbers)) == {"start": 0.0, "better": "higher", "bar": 0.25, "rule": "share",
                                          "verdict": verdict}  # fmt: skip


def test_where_the_ideal_lies_below_the_null_less_is_better() -> None:
    found = judged(row(ideal=-1.0, null_value=0.6, value=-0.1, ci_low=-0.3, ci_high=0.19))
    assert found == {"start": 0.6, "better": "lower", "bar": pytest.approx(0.2), "rule": "share", "verdict": "met"}
    assert judged(row(ideal=-1.0, value=0.3, ci_low=0.1, ci_high=0.5))["verdict"] == "violated"


def test_where_no_ideal_is_stated_a_tenth_beyond_the_null_is_the_least_that_counts() -> None:
    def synergy(low: float, high: float) -> dict[str, Any]:
        return judged(row(ideal=None, better="higher", ci_low=low, ci_high=high))

    assert synergy(0.11, 0.3) == {"start": 0.0, "better": "higher", "bar": 0.1, "rule": "least", "verdict": "met"}
    assert synergy(0.02, 0.06)["verdict"] == "violated" and synergy(0.02, 0.2)["verdict"] == "cannot tell"

    def quality(low: float, high: float) -> dict[str, Any]:
        return judged(row(ideal=None, null_value=1.0, better="lower", ci_low=low, ci_high=high))

    assert quality(0.3, 0.5) == {"start": 1.0, "better": "lower", "bar": 0.9, "rule": "least", "verdict": "met"}
    assert quality(1.1, 1.3)["verdict"] == "violated" and quality(0.7, 1.1)["verdict"] == "cannot tell"


def test_a_model_may_name_where_the_way_starts_and_how_far_is_far_enough() -> None:
    leakage = {"ideal": 0.0, "null_value": 0.02, "start": 1.0, "bar": 0.1}
    found = judged(row(**leakage, value=0.02, ci_low=0.01, ci_high=0.03))
    assert found == {"start": 1.0, "better": "lower", "bar": 0.1, "rule": None, "verdict": "met"}
    assert judged(row(**leakage, ci_low=0.05, ci_high=0.1))["verdict"] == "met"  # the bar itself is reached
    assert judged(row(**leakage, ci_low=0.11, ci_high=0.3))["verdict"] == "violated"


@pytest.mark.parametrize(
    "numbers",
    [
        {"ideal": None},
        {"better": "neither"},
        {"null_value": None},
        {"ideal": 0.0},
        {"null_value": None, "ideal": None},
        {"ideal": float("nan")},
        {"null_value": float("inf")},
        {"start": float("nan"), "null_value": None},
    ],
)
def test_what_has_no_better_direction_is_described_and_not_judged(numbers: dict[str, Any]) -> None:
    found = judged(row(**numbers))
    assert (found["better"], found["bar"], found["verdict"]) == ("neither", None, "described")


@pytest.mark.parametrize(
    ("ends", "verdict"),
    [((0.1, 0.4), "better"), ((-0.4, -0.1), "worse"), ((-0.05, 0.06), "alike"), ((0.02, 0.4), "cannot tell"),
     ((-0.05, 0.1), "cannot tell"), ((None, None), "cannot tell")],
)  # fmt: skip
def test_the_prompt_is_better_worse_or_alike_by_a_tenth_of_the_way_of_what_it_is_compared_in(
    ends: tuple[float | None, float | None], verdict: str
) -> None:
    difference = {"value": 0.0, "ci_low": ends[0], "ci_high": ends[1], "null_value": 0.0, "ideal": None}
    about = {**row(), **judged(row())}
    assert compared(difference, about) == {"start": 0.0, "better": "higher", "bar": 0.1, "rule": "apart",
                                           "verdict": verdict}  # fmt: skip
    # On a way of −2 (from 1 to −1) twice the difference counts, the other way round.
    about = {**row(ideal=-1.0, null_value=1.0), **judged(row(ideal=-1.0, null_value=1.0))}
    low, high = (None if end is None else -2 * end for end in reversed(ends))
    mirrored = compared({**difference, "ci_low": low, "ci_high": high}, about)
    assert mirrored == {"start": 0.0, "better": "lower", "bar": -0.2, "rule": "apart", "verdict": verdict}


def test_a_difference_in_what_is_not_judged_is_not_judged() -> None:
    difference = {"value": 0.3, "ci_low": 0.2, "ci_high": 0.4, "null_value": 0.0, "ideal": None}
    for about in (None, {**row(), **judged(row(better="neither"))}):
        assert compared(difference, about)["verdict"] == "described"
    assert compared({**difference, "value": None}, None)["verdict"] == "cannot tell"


def test_a_bound_is_decided_by_the_same_rule_in_either_direction() -> None:
    assert [decided(0.2, 0.4, bar, "higher") for bar in (0.2, 0.3, 0.4, 0.5)] == [
        "met", "cannot tell", "cannot tell", "violated",
    ]  # fmt: skip
    assert [decided(0.2, 0.4, bar, "lower") for bar in (0.5, 0.4, 0.3, 0.1)] == [
        "met", "met", "cannot tell", "violated",
    ]  # fmt: skip


def test_the_scorecard_says_of_each_row_what_it_is_and_whether_it_is_met(store) -> None:
    names = "abcdef"
    tuned = {(name, name): 4.0 for name in names} | {(name, "p"): 3.0 for name in names}
    tuned |= {(name, "n"): 2.0 for name in names}
    prompted = {**tuned, **{(name, "n"): -2.0 for name in names}}
    kinds = {(name, "p"): "paraphrase" for name in names} | {(name, "n"): "negation" for name in names}
    connection = store({"finetune": tuned, "in_context": prompted}, kinds=kinds)
    card = score(connection, draws=50)
    found = {(r["estimator"], r["desideratum"], r["variant"]): r for r in card.to_pylist() if r["domain"] == "all"}

    def said(*key: str) -> tuple[Any, ...]:
        return tuple(found[key][name] for name in ("start", "better", "bar", "verdict"))

    assert said("finetune", "paraphrase", "score") == (0.0, "higher", 0.25, "met")  # 3 / 4
    # (3 − 2) / (3 + 2) = 0.2 falls short of a quarter, (3 + 2) / (3 + 2) does not; −1 is the ideal of the score.
    assert said("finetune", "negation", "contrast") == (0.0, "higher", 0.25, "violated")
    assert said("in_context", "negation", "contrast") == (0.0, "higher", 0.25, "met")
    assert said("in_context", "negation", "score") == (0.0, "lower", -0.25, "met")
    assert said("finetune", "paraphrase", "nats") == (0.0, "neither", None, "described")
    rescue = found["finetune", "prompt_rescue", "negation: score"]
    assert [rescue[name] for name in ("about", "formula", "partner", "kind")] == [
        "negation", "score", "in_context", None,
    ]  # fmt: skip
    assert said("finetune", "prompt_rescue", "negation: score") == (0.0, "lower", -0.1, "better")  # −0.5 − 0.5
    assert said("finetune", "prompt_rescue", "paraphrase: score") == (0.0, "higher", 0.1, "alike")


def test_a_comparison_shows_the_verdict_of_either_scorecard(store) -> None:
    cells = {(name, name): 4.0 for name in "abcdef"} | {(name, "p"): 3.0 for name in "abcdef"}
    connection = store(cells, kinds={(name, "p"): "paraphrase" for name in "abcdef"})

    def verdicts() -> set[tuple[Any, ...]]:
        rows = compare(connection, connection, draws=20).to_pylist()
        return {(r["verdict_a"], r["verdict_b"]) for r in rows if (r["desideratum"], r["variant"]) == wanted}

    wanted = ("paraphrase", "score")
    assert verdicts() == {(None, None)}  # nothing was scored
    connection.register("_card", score(connection, draws=20))
    connection.execute("insert into desiderata select * from _card")
    assert verdicts() == {("met", "met")}
