from __future__ import annotations

from typing import Any

import duckdb
import pyarrow as pa
import pytest

from einfluence.errors import InputError
from einfluence.metrics import check, compare, score
from einfluence.metrics.comparing import _paired, _Series
from einfluence.store.schema import DESIDERATA
from tests.metrics.synthetic import Kind, estimated, synthetic


def connection_of(kind: Kind, seed: int = 0, arms: int = 1) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(config={"python_enable_replacements": False})
    synthetic(connection, probes=80, queries=200, kind=kind, seed=seed, arms=arms, images=False)
    return connection


def test_a_store_does_not_differ_from_itself() -> None:
    one, again = connection_of("realistic"), connection_of("realistic")
    rows = [row for row in compare(one, again, draws=200).to_pylist() if row["value_a"] is not None]
    assert len(rows) > 20
    # DuckDB's threads add in no fixed order, so that two readings of one store agree to rounding only.
    assert max(abs(row[name]) for row in rows for name in ("difference", "ci_low", "ci_high")) < 1e-12


def test_a_difference_is_found_where_it_was_made_and_nowhere_else() -> None:
    rows = compare(connection_of("ideal"), connection_of("negation_blind"), draws=200).to_pylist()
    different = {(row["desideratum"], row["variant"]) for row in rows if abs(row["difference"] or 0.0) > 1e-12}
    lost = {("layer_restoration", f"layer {layer}: negation, nats") for layer in range(4)}
    lost |= {("relative", f"negation: {over}") for over in ("probe", "both")}
    lost |= {("classification", v) for v in ("negation: log-odds", "negation: gained", "all: gained")}
    assert different == lost | {("negation", v) for v in ("contrast", "P(negation < 0)", "score", "nats")}
    contrast = next(row for row in rows if row["variant"] == "contrast" and row["desideratum"] == "negation")
    assert (contrast["value_a"], contrast["value_b"], contrast["difference"]) == (1.0, 0.0, -1.0)
    assert contrast["p_value"] < 0.01


def test_arms_of_one_store_can_be_compared_by_recipe() -> None:
    connection = connection_of("realistic", arms=3)
    recipes = connection.execute("select recipe from recipes where estimator = 'finetune' order by label").fetchall()
    one, other = (row[0] for row in recipes)
    rows = compare(connection, connection, a={"recipe": one}, b={"recipe": other[:8]}, draws=100).to_pylist()
    assert {(row["recipe_a"], row["recipe_b"]) for row in rows} == {(one, other)}


def test_two_estimates_are_compared_where_both_recipes_are_chosen() -> None:
    connection = connection_of("realistic")
    estimated(connection, "near", 0.1)
    estimated(connection, "far", 0.9)
    rows = compare(connection, connection, a={"recipe": "far"}, b={"recipe": "near"}, draws=100).to_pylist()
    assert {(row["estimator"], row["estimator_b"]) for row in rows} == {("far", "near")}
    found = {row["variant"]: row for row in rows if row["desideratum"] == "fidelity"}
    assert found["spearman"]["ci_low"] > 0 and found["spearman by query"]["ci_low"] > 0
    assert {row["estimator_b"] for row in compare(connection, connection, draws=20).to_pylist()} >= {"near", "far"}


def test_arms_pair_by_likeness_and_never_by_chance() -> None:
    scores = {("negation", "contrast", "mean"): _Series({"p": 1.0}, {"p": 1.0}, {"p": "c"})}

    def arms(*names: tuple[str, str]) -> dict[tuple[str, str, str], Any]:
        return {("finetune", base, recipe): scores for base, recipe in names}

    def paired(a: dict[Any, Any], b: dict[Any, Any]) -> list[tuple[str, str]]:
        return [(one[1] + one[2], other[1] + other[2]) for one, other in _paired(a, b)]

    assert paired(arms(("A", "r"), ("A", "s")), arms(("A", "r"), ("B", "s"))) == [("Ar", "Ar"), ("As", "Bs")]
    assert paired(arms(("A", "r")), arms(("A", "s"))) == [("Ar", "As")]
    assert paired(arms(("A", "r"), ("A", "s")), arms(("A", "r"), ("A", "t"), ("A", "u"))) == [("Ar", "Ar")]


def test_stores_without_common_probes_cannot_be_compared(store) -> None:
    with pytest.raises(InputError, match="share probes"):
        compare(store({("a", "a"): 1.0}), store({("b", "b"): 1.0}))


def scorecard(*rows: dict[str, Any]) -> pa.Table:
    common = {"estimator": "finetune", "base": "b", "recipe": "r", "domain": "all", "desideratum": "negation",
              "variant": "contrast"}  # fmt: skip
    return pa.Table.from_pylist([{**common, **row} for row in rows], schema=DESIDERATA)


CARD = scorecard({"value": 0.3, "ci_low": 0.2, "ci_high": 0.4})


@pytest.mark.parametrize(
    ("requirement", "verdict"),
    [
        ("negation>=0.1", "met"),
        ("negation >= 0.2", "met"),
        ("negation>=0.25", "cannot tell"),  # the point would do, the interval does not
        ("negation>=0.35", "cannot tell"),
        ("negation>=0.5", "violated"),
        ("negation<=0.5", "met"),
        ("negation<=.25", "cannot tell"),
        ("negation<=-1e-1", "violated"),
        ("finetune:negation/contrast[all]>=0.1", "met"),
    ],
)
def test_requirements_are_decided_on_the_interval(requirement: str, verdict: str) -> None:
    assert check(CARD, [requirement]).to_pylist()[0]["verdict"] == verdict


def test_a_requirement_may_ask_for_the_verdict_of_the_scorecard() -> None:
    met = {"value": 0.3, "ci_low": 0.2, "ci_high": 0.4, "bar": 0.2, "verdict": "met"}
    card = scorecard(met, {**met, "recipe": "q", "bar": 0.25, "verdict": "violated"})
    rows = check(card, ["negation = met"]).to_pylist()
    assert [(row["verdict"], row["bound"]) for row in rows] == [("met", 0.2), ("violated", 0.25)]
    with pytest.raises(InputError, match="without verdicts"):
        check(CARD, ["negation=met"])


def test_a_requirement_holds_for_every_arm_and_domain_that_it_names() -> None:
    rows = [{"recipe": recipe, "domain": domain, "value": value, "ci_low": value, "ci_high": value}
            for recipe, domain, value in (("r", "all", 1.0), ("q", "all", 0.0), ("r", "birds", 0.5))]  # fmt: skip
    card = scorecard(*rows)
    assert [row["verdict"] for row in check(card, ["negation>=0.4"]).to_pylist()] == ["met", "violated"]
    assert [row["value"] for row in check(card, ["negation[birds]>=0.4"]).to_pylist()] == [0.5]


def test_a_requirement_on_an_estimate_names_it_in_brackets_or_means_every_one() -> None:
    known = (("dot", "all", 0.9), ("dot", "birds", 0.7), ("ekfac", "all", 0.1))
    rows = [{"estimator": estimator, "recipe": estimator, "domain": domain, "value": value, "ci_low": value,
             "ci_high": value} for estimator, domain, value in known]  # fmt: skip
    card = scorecard(*({**row, "desideratum": "fidelity", "variant": "spearman"} for row in rows))

    def found(requirement: str, baseline: Any = None) -> list[tuple[str, str, str]]:
        asked = check(card, [requirement], baseline).to_pylist()
        return [(row["estimator"], row["domain"], row["verdict"]) for row in asked]

    assert found("fidelity[ekfac]>=0.4") == [("ekfac", "all", "violated")]
    assert found("ekfac:fidelity>=0.4") == [("ekfac", "all", "violated")]
    assert found("fidelity>=0.4") == [("dot", "all", "met"), ("ekfac", "all", "violated")]
    assert found("fidelity[birds]>=0.4") == [("dot", "birds", "met")]
    assert found("fidelity>=baseline-0.1", card) == [("dot", "all", "met"), ("ekfac", "all", "met")]
    with pytest.raises(InputError, match="in brackets one of all, birds, dot, ekfac"):
        check(card, ["fidelity[tracin]>=0.4"])


def test_a_baseline_is_met_when_the_interval_of_the_difference_is() -> None:
    baseline = scorecard({"value": 0.3, "ci_low": 0.27, "ci_high": 0.33, "base": "old"})
    # Difference 0 ± hypot(0.1, 0.03) = 0.104.
    for margin, verdict in ((0.11, "met"), (0.1, "cannot tell"), (0, "cannot tell")):
        row = check(CARD, [f"negation>=baseline-{margin}"], baseline).to_pylist()[0]
        assert row["verdict"] == verdict
    assert row["ci_low"] == pytest.approx(-((0.1**2 + 0.03**2) ** 0.5))
    assert check(CARD, ["negation>=baseline+0.2"], baseline).to_pylist()[0]["verdict"] == "violated"


def test_a_number_without_an_interval_is_held_against_no_baseline() -> None:
    count = {"desideratum": "checks", "variant": "failed_probes", "value": 2.0, "ci_low": None, "ci_high": None}
    row = check(scorecard(count), ["checks<=baseline"], scorecard({**count, "value": 3.0})).to_pylist()[0]
    assert (row["verdict"], row["note"]) == ("cannot tell", "no interval")


def test_too_few_probes_decide_nothing() -> None:
    card = scorecard({"n": 4, "note": "not enough probes (n=4)"})
    row = check(card, ["negation>=0.2"]).to_pylist()[0]
    assert (row["verdict"], row["note"]) == ("cannot tell", "not enough probes (n=4)")


@pytest.mark.parametrize(
    ("requirement", "message"),
    [
        ("negation", "something else than a requirement"),
        ("negation>0.2", "something else than a requirement"),
        ("negation>=", "something else than a requirement"),
        ("negation=short", "something else than a requirement"),
        ("negation>=met", "something else than a requirement"),
        ("negation>=baseline 0.2", "plus or minus"),
        ("negatoin>=0.2", "desideratum one of negation"),
        ("in_context:negation>=0.2", "estimator one of finetune"),
        ("negation/kontrast>=0.2", "variant one of contrast"),
        ("negation[fish]>=0.2", "domain one of all"),
        ("negation>=baseline", "no baseline"),
    ],
)
def test_a_requirement_that_cannot_be_used_says_why(requirement: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check(CARD, [requirement])


def test_the_shipped_scorecard_can_be_checked() -> None:
    card = score(connection_of("realistic", arms=2), draws=100)
    wanted = ["negation/P(negation < 0)<=0.2", "paraphrase>=0.3", "in_context:negation>=0.5", "asymmetry<=0.4"]
    assert {row["verdict"] for row in check(card, wanted).to_pylist()} == {"met"}
