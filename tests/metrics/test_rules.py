"""House rules behind verdicts: a spec's own, kept with the scores; how many verdicts turn at half and at double."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from einfluence.errors import InputError
from einfluence.metrics import scored
from einfluence.metrics.verdicts import judged, with_verdicts
from einfluence.rules import Rules
from einfluence.spec import load_spec
from einfluence.store.schema import TABLES
from einfluence.store.store import Store
from tests.metrics.conftest import MakeStore


def row(**numbers: Any) -> dict[str, Any]:
    return {"desideratum": "d", "value": 0.5, "ci_low": 0.4, "ci_high": 0.6, "ideal": 1.0, "null_value": 0.0, **numbers}


@pytest.mark.parametrize(
    ("numbers", "rules", "bar", "rule"),
    [
        ({}, Rules(share=0.5), 0.5, "share"),
        ({"ideal": None, "better": "lower"}, Rules(least=0.3), -0.3, "least"),
        ({"ideal": 0.0, "start": 1.0, "rule": "left"}, Rules(left=0.2), 0.2, "left"),
        ({"ideal": 0.0, "start": 2.0, "rule": "left"}, Rules(), 0.2, "left"),
        ({"bar": 0.45}, Rules(share=0.5), 0.45, None),  # a model's own is nobody's rule
        ({"better": "neither"}, Rules(), None, None),
    ],
)
def test_each_rule_sets_the_bars_that_go_by_it(
    numbers: dict[str, Any], rules: Rules, bar: float | None, rule: str | None
) -> None:
    found = judged(row(**numbers), rules)
    assert (found["bar"], found["rule"]) == (bar if bar is None else pytest.approx(bar), rule)


def test_verdicts_at_half_and_at_double_of_the_rule_stand_beside_each_other() -> None:
    edge, clear, own = with_verdicts([row(ci_low=0.2), row(ci_low=0.55, ci_high=0.8), row(bar=0.1)])
    # The bar is 0.25: the interval from 0.2 holds it; 0.125 it clears; 0.5 it holds.
    assert [edge[name] for name in ("verdict", "verdict_half", "verdict_double")] == [
        "cannot tell",
        "met",
        "cannot tell",
    ]
    assert [clear[name] for name in ("verdict", "verdict_half", "verdict_double")] == ["met", "met", "met"]
    assert [own[name] for name in ("rule", "verdict_half", "verdict_double")] == [None, None, None]


def test_a_part_of_a_way_is_never_more_than_the_whole() -> None:
    assert Rules(share=0.7, least=0.7, left=0.6, apart=0.1).times(2) == Rules(share=1, least=1.4, left=1, apart=0.2)


def test_rules_change_verdicts_and_no_number_and_are_kept_with_the_scores(store: MakeStore, tmp_path: Path) -> None:
    names = "abcdef"
    connection = store(
        {(name, query): 4.0 if name == query else 1.2 for name in names for query in (name, "p")},
        kinds={(name, "p"): "paraphrase" for name in names},
    )
    usual, strict = scored(connection, draws=50), scored(connection, draws=50, rules=Rules(share=0.5))
    verdict = {name: found["desiderata"].to_pylist() for name, found in (("usual", usual), ("strict", strict))}
    paraphrase = [
        next(r for r in rows if (r["desideratum"], r["variant"]) == ("paraphrase", "score"))
        for rows in verdict.values()
    ]
    assert [r["verdict"] for r in paraphrase] == ["met", "violated"]  # 1.2 / 4 = 0.3
    judged_by = ("bar", "verdict", "verdict_half", "verdict_double")
    for one, other in zip(*verdict.values(), strict=True):
        assert {k: v for k, v in one.items() if k not in judged_by} == {
            k: v for k, v in other.items() if k not in judged_by
        }
    kept = Store(tmp_path / "store")
    kept.write_scores(strict)
    with kept.connect() as reader:
        rules = dict(reader.sql("select rule, value from verdict_rules").fetchall())
        assert rules == {"share": 0.5, "least": 0.1, "left": 0.1, "apart": 0.1} == Rules(**rules).model_dump()
        turns = reader.sql(
            "select rule, value, verdicts, turn_at_half, turn_at_double from verdict_sensitivity where rule = 'share'"
        ).fetchall()
    # Of the gate (all six learned) and the paraphrase, which half of the rule would call met.
    shares = [r for r in verdict["strict"] if r["domain"] == "all" and r["rule"] == "share"]
    assert turns == [("share", 0.5, len(shares), 1, sum(r["verdict"] != r["verdict_double"] for r in shares))]


def test_a_store_that_was_scored_before_has_no_rules_and_the_house_has_them(tmp_path: Path) -> None:
    with Store(tmp_path / "store").connect() as reader:
        for name in ("verdict_rules", "verdict_sensitivity", "ladder"):
            assert reader.sql(f"select * from {name}").fetchall() == []
            assert reader.table(name).columns == TABLES[name].names


def test_a_spec_names_them_and_says_where_one_is_out_of_range(tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text("base: embedded:world\nfacts: world\nverdicts: {share: 0.5}\n")
    assert load_spec(spec).verdicts == Rules(share=0.5)
    for wrong in ("share: 0", "left: 1.5", "apart: -0.1", "quarter: 0.25"):
        spec.write_text(f"base: embedded:world\nfacts: world\nverdicts: {{{wrong}}}\n")
        with pytest.raises(InputError, match=wrong.split(":")[0]):
            load_spec(spec)
