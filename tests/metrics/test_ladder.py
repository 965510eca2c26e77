"""What no arm can do ideally is held against a ladder: the null, prompting, the best other arm, an ideal learner."""

from __future__ import annotations

from typing import Any

import pytest

from einfluence.metrics import scored
from einfluence.metrics.verdicts import judged
from einfluence.rules import Rules
from tests.metrics.conftest import Cells, MakeStore

PROBES = "abcdef"
SPARSE = {"self": 8.0, "x": 0.1, "y": 0.1, "z": 0.1}
MIDDLE = {"self": 8.0, "x": 2.0, "y": 0.1, "z": 0.1}
FLAT = {"self": 8.0, "x": 6.0, "y": 5.0, "z": 4.0}


def cells(row: dict[str, float], probes: str = PROBES, queries: str = "xyz") -> Cells:
    """Every probe's own query and three others, with the influence that ``row`` says."""
    return {(p, p if q == "self" else q): n for p in probes for q, n in row.items() if q == "self" or q in queries}


def scores(connection: Any) -> dict[str, list[dict[str, Any]]]:
    return {name: table.to_pylist() for name, table in scored(connection, draws=50).items()}


def ladder(found: dict[str, list[dict[str, Any]]], variant: str = "gini", **arm: str) -> dict[str, dict[str, Any]]:
    wanted = {"variant": variant, "domain": "all", **arm}
    return {row["rung"]: row for row in found["ladder"] if all(row[name] == value for name, value in wanted.items())}


def verdicts(found: dict[str, list[dict[str, Any]]], variant: str = "gini") -> dict[str, str]:
    rows = [row for row in found["desiderata"] if row["variant"] == variant and row["domain"] == "all"]
    return {row["recipe"]: row["verdict"] for row in rows}


def test_an_ideal_learner_does_what_claims_say_and_else_fades_steeply_with_distance(store: MakeStore) -> None:
    claims = {"p": "paraphrase", "n": "negation", "r": "reversed", "u": None, "v": "unrelated"}
    distance = {"p": 0.2, "n": 0.5, "r": 0.1, "u": 0.6, "v": 0.9}
    connection = store(
        {(probe, query): 1.0 + 0.1 * place for probe in PROBES for place, query in enumerate((probe, *claims))},
        kinds={(probe, query): kind for probe in PROBES for query, kind in claims.items()},
        distances={(probe, query): far for probe in PROBES for query, far in distance.items()},
    )
    found = scores(connection)
    # Itself, paraphrase and negation are moved by as much, three of six: Gini 1 − 3/6, participation 3/6.
    for variant in ("gini", "participation"):
        top = ladder(found, variant)["ideal learner"]
        assert [top[name] for name in ("value", "ci_low", "ci_high", "n")] == [0.5, 0.5, 0.5, 6]
    # Sizes rank p, n 4.5 each, then u 3 and v 2 by distance, r 1; distances rank r 1, p 2, n 3, u 4, v 5. Their
    # covariance is 0.5 of √(9.5 · 10).
    assert ladder(found, "spearman")["ideal learner"]["value"] == pytest.approx(-0.5 / 95**0.5)


def test_the_better_of_prompting_and_the_best_other_arm_is_what_counts(store: MakeStore) -> None:
    arms = {"finetune flat": cells(FLAT), "finetune middle": cells(MIDDLE), "in_context": cells(SPARSE)}
    whole = scores(store(arms))
    found = ladder(whole, recipe="finetune middle")
    assert list(found) == ["null", "prompting", "best arm", "ideal learner"]
    # Gini of 0.1, 0.1, 2, 8: 2·(0.1 + 0.2 + 6 + 32) / (4 · 10.2) − 5/4; of 0.1, 0.1, 0.1, 8 and 4, 5, 6, 8 likewise.
    gini = {"middle": 76.6 / 40.8 - 1.25, "sparse": 65.2 / 33.2 - 1.25, "flat": 128 / 92 - 1.25}
    assert found["prompting"]["value"] == pytest.approx(gini["sparse"]) and found["prompting"]["of"] == "in_context"
    assert found["prompting"]["difference"] == pytest.approx(gini["middle"] - gini["sparse"])
    assert found["best arm"]["value"] == pytest.approx(gini["flat"]) and found["best arm"]["of"] == "finetune flat"
    assert [found[rung]["compared"] for rung in found] == [None, True, False, None]
    assert found["ideal learner"]["value"] == 0.75  # one of four is moved
    assert found["null"]["value"] == pytest.approx((2**0.5 - 1) * 3 / 4)
    # From 0.31 to 0.75 a tenth is 0.044: middle, 0.627, lies 0.087 behind prompting, and flat is no more than noise.
    assert verdicts(whole) == {"finetune flat": "violated", "finetune middle": "violated", "in_context": "met"}


def test_an_arm_that_scores_nothing_is_a_rung_like_any_other(store: MakeStore) -> None:
    even = dict.fromkeys(MIDDLE, 1.0)  # moves all alike: a Gini of exactly 0
    found = ladder(
        scores(store({"finetune even": cells(even), "finetune middle": cells(MIDDLE)})), recipe="finetune middle"
    )
    assert (found["best arm"]["value"], found["best arm"]["compared"]) == (0.0, True)
    assert found["best arm"]["difference"] == pytest.approx(76.6 / 40.8 - 1.25)


def test_an_estimate_is_held_against_trainings_and_is_no_rung(store: MakeStore) -> None:
    arms = {"finetune middle": cells(MIDDLE), "finetune flat": cells(FLAT), "dot": cells(SPARSE)}
    found = scores(store(arms, stands_for={"dot": "finetune middle"}))
    assert ladder(found, recipe="finetune middle")["best arm"]["of"] == "finetune flat"
    assert ladder(found, recipe="dot")["best arm"]["of"] == "finetune middle"


def test_only_probes_that_met_the_same_queries_are_compared(store: MakeStore) -> None:
    other = {**cells(SPARSE, "abcde", "xyz"), **cells(SPARSE, "f", "xy")}
    found = scores(store({"finetune middle": cells(MIDDLE), "finetune other": other}))
    assert ladder(found, recipe="finetune middle")["best arm"]["n"] == 5
    fewer = {"finetune middle": cells(MIDDLE), "finetune other": cells(SPARSE, PROBES, "xy")}
    assert "best arm" not in ladder(scores(store(fewer)), recipe="finetune middle")


def test_an_arm_alone_is_described_unless_it_is_no_more_than_noise(store: MakeStore) -> None:
    found = scores(store(cells(SPARSE)))
    assert verdicts(found) == {"finetune": "described"}
    assert list(ladder(found)) == ["null", "ideal learner"]
    assert verdicts(scores(store(cells(FLAT)))) == {"finetune": "violated"}


def rung(name: str, value: float, low: float = 0.0, high: float = 0.0) -> dict[str, Any]:
    return {"rung": name, "value": value, "difference_low": low, "difference_high": high, "compared": name != "top"}


TOP = {"rung": "ideal learner", "value": 0.9}  # from a null of 0.4: a tenth of the way is 0.05


@pytest.mark.parametrize(
    ("interval", "behind", "verdict"),
    [
        ((0.56, 0.6), (-0.04, 0.01), "met"),
        ((0.56, 0.6), (0.1, 0.2), "met"),  # ahead of all others
        ((0.56, 0.6), (-0.2, -0.1), "violated"),  # clear of the null, and behind
        ((0.56, 0.6), (-0.1, 0.0), "cannot tell"),
        ((0.41, 0.44), (0.0, 0.1), "violated"),  # the best there is, and no more than noise
        ((0.44, 0.5), (0.0, 0.1), "cannot tell"),
        ((0.56, 0.6), None, "described"),
        ((0.41, 0.44), None, "violated"),
    ],
)
def test_a_row_must_be_clear_of_the_null_and_not_behind_by_a_tenth_of_the_way(
    interval: tuple[float, float], behind: tuple[float, float] | None, verdict: str
) -> None:
    rungs = [TOP] + ([rung("best arm", 0.58, *behind)] if behind else [])
    row = {"value": 0.5, "ci_low": interval[0], "ci_high": interval[1], "ideal": 1.0, "null_value": 0.4,
           "rule": "ladder", "rungs": rungs}  # fmt: skip
    assert judged(row)["verdict"] == verdict
    mirrored: dict[str, Any] = {**row, "value": -0.5, "ci_low": -interval[1], "ci_high": -interval[0], "ideal": -1.0,
                "null_value": -0.4, "rungs": [{**TOP, "value": -0.9}]}  # fmt: skip
    mirrored["rungs"] += [rung("best arm", -0.58, -behind[1], -behind[0])] if behind else []
    assert judged(mirrored)["verdict"] == verdict


def test_the_bar_is_the_stricter_of_null_and_best_arm() -> None:
    row = {"value": 0.5, "ci_low": 0.56, "ci_high": 0.6, "ideal": 1.0, "null_value": 0.4, "rule": "ladder"}
    assert judged({**row, "rungs": [TOP, rung("best arm", 0.58)]})["bar"] == pytest.approx(0.53)
    assert judged({**row, "rungs": [TOP, rung("best arm", 0.41)]})["bar"] == pytest.approx(0.45)
    half = judged({**row, "rungs": [TOP, rung("best arm", 0.41)]}, Rules(apart=0.05))
    assert half["bar"] == pytest.approx(0.425)
