"""Estimates held against what they predict, on a few rows that were worked by hand (the working is beside them)."""

from __future__ import annotations

from typing import Any

import pytest

from einfluence.metrics import per_probe, score
from einfluence.metrics.models import desiderata
from tests.metrics.conftest import UNMEASURED, cell_row


def close(number: float) -> Any:
    return pytest.approx(number, rel=1e-12, abs=1e-12)


MEASURED = {("a", "a"): 9.0, ("a", "x"): 4.0, ("a", "y"): -1.0, ("a", "z"): 2.0}


def held(store: Any, estimate: dict[tuple[str, str], float], measured: Any = None, **more: Any) -> Any:
    arms = {"finetune": measured or MEASURED, "dot": estimate}
    return store(arms, stands_for={"dot": "finetune"}, **more)


def test_a_rank_correlation_leaves_the_probe_itself_out(store, values) -> None:
    connection = held(store, {("a", "a"): -99.0, ("a", "x"): 3.0, ("a", "y"): 2.0, ("a", "z"): 1.0})
    # Measured 4 −1 2 have ranks 3 1 2, estimated 3 2 1 ranks 3 2 1: differences 0 1 1, ρ = 1 − 6·2/24.
    found = values(connection, "fidelity", "spearman", "dot")
    assert (found["a"], found["null:a"]) == (close(0.5), 0.0)
    assert values(connection, "fidelity", "spearman", "finetune") == {}  # an intervention stands for nothing


def test_sign_slope_and_the_top_tenth(store, values) -> None:
    connection = held(store, {("a", "a"): 1.0, ("a", "x"): 2.0, ("a", "y"): 1.0, ("a", "z"): 0.0})
    # Of 4 −1 2 the signs + − + are predicted as + + 0, where 0 counts half: (1 + 0 + ½)/3.
    assert values(connection, "fidelity", "sign", "dot")["a"] == close(0.5)
    # Through the origin: (2·4 − 1·1 + 0·2)/(4 + 1 + 0).
    assert values(connection, "fidelity", "slope", "dot")["a"] == close(1.4)
    # A tenth of three queries is one, and both have x first; by chance one of three.
    found = values(connection, "fidelity", "top tenth", "dot")
    assert (found["a"], found["null:a"]) == (close(1.0), close(1 / 3))


def test_ties_share_a_place_in_the_top_tenth(store, values) -> None:
    connection = held(store, {("a", "x"): 5.0, ("a", "y"): 5.0, ("a", "z"): 1.0})
    assert values(connection, "fidelity", "top tenth", "dot")["a"] == close(0.5)  # x or y, either as likely
    alike = held(store, dict.fromkeys(MEASURED, 1.0))
    assert values(alike, "fidelity", "top tenth", "dot")["a"] == close(1 / 3)  # says nothing, and gets what chance gets
    assert values(alike, "fidelity", "spearman", "dot")["a"] is None


def test_queries_are_ranked_over_probes_but_for_their_own(store, values) -> None:
    measured = {("a", "q"): 1.0, ("b", "q"): 2.0, ("c", "q"): 3.0, ("q", "q"): 0.0, ("a", "r"): 1.0, ("b", "r"): 2.0}
    estimate = {("a", "q"): 1.0, ("b", "q"): 3.0, ("c", "q"): 2.0, ("q", "q"): 9.0, ("a", "r"): 1.0, ("b", "r"): 2.0}
    found = values(held(store, estimate, measured), "fidelity", "spearman by query", "dot")
    assert found["q"] == close(0.5)  # ranks 1 2 3 and 1 3 2
    assert found["r"] is None  # of two probes


def test_kinds_are_placed_among_the_unrelated_queries(store, values) -> None:
    kinds = {("a", "p"): "paraphrase", ("a", "n"): "negation", ("a", "u"): "unrelated", ("a", "v"): "unrelated"}
    measured = {("a", "p"): 4.0, ("a", "n"): -2.0, ("a", "u"): 0.0, ("a", "v"): 1.0}
    estimate = {("a", "p"): 5.0, ("a", "n"): 0.5, ("a", "u"): 0.0, ("a", "v"): 1.0}
    connection = held(store, estimate, measured, kinds=kinds)
    assert values(connection, "fidelity", "paraphrase: order", "dot")["a"] == close(1.0)
    # Below both when measured; estimated above u and below v: one of two pairs agrees, and it is half of them too high.
    found = values(connection, "fidelity", "negation: order", "dot")
    assert (found["a"], found["null:a"]) == (close(0.5), 0.5)
    assert values(connection, "fidelity", "negation: too high", "dot")["a"] == close(0.5)
    assert values(connection, "fidelity", "unrelated: order", "dot") == {}


def test_pairs_that_were_measured_equal_have_no_order(store, values) -> None:
    kinds = {("a", "p"): "paraphrase", ("a", "u"): "unrelated", ("a", "v"): "unrelated"}
    measured = {("a", "p"): 1.0, ("a", "u"): 1.0, ("a", "v"): 0.0}
    estimate = {("a", "p"): 1.0, ("a", "u"): 9.0, ("a", "v"): 1.0}
    found = values(held(store, estimate, measured, kinds=kinds), "fidelity", "paraphrase: order", "dot")
    assert found["a"] == close(0.5)  # v alone counts, a tie of the estimate half


def test_rank_correlations_within_fifths_of_the_distance(store, values) -> None:
    queries = [f"q{i:02}" for i in range(15)]
    distances = {("a", query): i / 15 for i, query in enumerate(queries)}
    measured = {("a", query): float(i) for i, query in enumerate(queries)}
    order = {0: 1.0, 1: 2.0, 2: 3.0, 3: 3.0, 4: 2.0, 5: 1.0}  # the nearest three as measured, the next three reversed
    estimate = {("a", query): order.get(i, float(i)) for i, query in enumerate(queries)}
    connection = held(store, estimate, measured, distances=distances)
    for fifth, value in ((1, 1.0), (2, -1.0), (3, 1.0)):
        assert values(connection, "fidelity", f"spearman, fifth {fifth}", "dot")["a"] == close(value)


def other_seed(values: dict[tuple[str, str], float], seed: int, arm: str = "finetune") -> list[dict[str, Any]]:
    return [{**cell_row(probe, query, value, arm), "seed": seed} for (probe, query), value in values.items()]


def test_the_ceiling_is_what_another_seed_of_the_training_predicts(store) -> None:
    names = [f"p{i}" for i in range(6)]
    first = {(p, q): v for p in names for q, v in (("x", 3.0), ("y", 2.0), ("z", 1.0))}
    second = {(p, q): v for p in names for q, v in (("x", 3.0), ("y", 1.0), ("z", 2.0))}
    estimate = {(p, q): v for p in names for q, v in (("x", 2.0), ("y", 3.0), ("z", 1.0))}
    connection = held(store, estimate, first, extra_rows=other_seed(second, 1))
    rows = {row["variant"]: row for row in score(connection, draws=50).to_pylist() if row["desideratum"] == "fidelity"}
    # Ranks 3 2 1 and 3 1 2 correlate by 0.5; the estimate's 2 3 1 with them by 0.5 and −0.5, that is 0 in the mean.
    assert rows["spearman"]["value"] == close(0.0)
    assert rows["of the ceiling"]["value"] == close(0.0)
    better = held(store, first, first, extra_rows=other_seed(second, 1))
    rows = {row["variant"]: row for row in score(better, draws=50).to_pylist() if row["desideratum"] == "fidelity"}
    # The estimate knows the first seed: 1 and 0.5, 0.75 in the mean, of a ceiling of 0.5.
    assert (rows["spearman"]["value"], rows["of the ceiling"]["value"]) == (close(0.75), close(1.5))
    assert rows["of the ceiling"]["ideal"] == 1.0
    assert "of the ceiling" not in {row["variant"] for row in score(held(store, first, first), draws=50).to_pylist()}


def test_an_estimate_with_seeds_is_held_against_the_training_of_its_own(store, values) -> None:
    up = {("a", q): v for q, v in zip("xyz", (1.0, 2.0, 3.0), strict=True)}
    down = {pair: -value for pair, value in up.items()}
    unmeasured = [{**row, **UNMEASURED} for row in other_seed(down, 1, "dot")]
    connection = held(store, up, up, extra_rows=[*other_seed(down, 1), *unmeasured])
    assert values(connection, "fidelity", "spearman", "dot")["a"] == close(1.0)  # 1 with 1, and 0 with 0
    one = held(store, up, up, extra_rows=other_seed(down, 1))
    assert values(one, "fidelity", "spearman", "dot")["a"] == close(0.0)  # it has no seed: against either
    elsewhere = [{**row, "seed": 7} for row in unmeasured]
    both = held(store, up, up, extra_rows=[*other_seed(down, 1), *elsewhere])
    rows = [row for row in per_probe(both).to_pylist() if (row["variant"], row["recipe"]) == ("spearman", "dot")]
    assert {row["seed"]: row["value"] for row in rows if row["desideratum"] == "fidelity"} == {0: 1.0, 7: 0.0}


def test_scores_without_a_unit_are_only_ranked(store) -> None:
    names = [f"p{i}" for i in range(6)]
    kinds = {(p, k): k for p in names for k in ("paraphrase", "negation", "unrelated")}
    cells = {(p, q): float(i + len(q)) for p in names for i, q in enumerate((p, "paraphrase", "negation", "unrelated"))}
    connection = held(store, cells, cells, kinds=kinds, unitless=("dot",))
    rows = [row for row in score(connection, draws=50).to_pylist() if row["estimator"] == "dot"]
    assert {row["desideratum"] for row in rows} == {"fidelity"}
    assert {row["variant"] for row in rows} == {
        "spearman", "spearman by query", "top tenth", "paraphrase: order", "paraphrase: too high", "negation: order",
        "negation: too high",
    }  # fmt: skip
    assert next(row["value"] for row in rows if row["variant"] == "spearman") == close(1.0)


def test_an_estimate_that_is_the_truth_gets_the_truths_desiderata_but_for_what_was_not_measured(store) -> None:
    names = [f"p{i}" for i in range(7)]
    kinds = {(p, f"{k}{p}"): k for p in names for k in ("paraphrase", "negation", "entailed", "sibling", "unrelated")}
    kinds |= {(p, q): "unrelated" for p in names for q in names if p != q}
    cells = {pair: 0.1 * len(kind) - 0.3 * (kind == "negation") for pair, kind in kinds.items()}
    cells |= {(p, p): 2.0 + i for i, p in enumerate(names)} | {("both", f"entailed{p}"): 1.5 for p in names[:1]}
    kinds |= {("both", "entailedp0"): "entailed"}
    distances = {pair: i / len(cells) for i, pair in enumerate(cells)}
    connection = held(store, cells, cells, kinds=kinds, distances=distances, bundles={"both": ["p0", "p1"]},
                      updates={(p, 0): 1.0 for p in names},
                      restored={(p, p, "layer 0"): 1.0 for p in names})  # fmt: skip
    connection.execute("update influence set rank_before = 2, rank_after = 1 where estimator = 'finetune'")
    found: dict[str, dict[tuple[str, str], Any]] = {"finetune": {}, "dot": {}}
    for row in score(connection, draws=50).to_pylist():
        found[row["estimator"]][row["desideratum"], row["variant"]] = row["value"]
    measured = {"classification", "layers", "layer_restoration"}
    alike = {key: value for key, value in found["dot"].items() if key[0] != "fidelity"}
    assert alike == {key: value for key, value in found["finetune"].items() if key[0] not in measured
                     and key != ("asymmetry", "phi, same length")}  # fmt: skip
    assert measured <= {name for name, _ in found["finetune"]} and len({name for name, _ in alike}) > 9
    assert {name for name, _ in found["dot"]} <= set(desiderata())


def test_relative_influence_is_over_the_root_of_what_the_probe_or_both_do_to_themselves(store, values) -> None:
    kinds = {("a", "b"): "paraphrase", ("a", "u"): "unrelated"}
    cells = {("a", "a"): 4.0, ("b", "b"): 9.0, ("a", "b"): 3.0, ("a", "u"): 0.2, ("u", "u"): 1.0}
    connection = store(cells, kinds=kinds)
    found = values(connection, "relative", "paraphrase: probe")
    assert (found["a"], found["null:a"]) == (close(1.5), close(0.1))  # 3/√4, 0.2/√4
    found = values(connection, "relative", "paraphrase: both")
    assert (found["a"], found["null:a"]) == (close(0.5), close(0.1))  # 3/√(4·9), 0.2/√(4·1)
    hurt = store({**cells, ("b", "b"): -9.0}, kinds=kinds)
    assert values(hurt, "relative", "paraphrase: both")["a"] is None  # b did not learn itself


def test_classification_counts_decisions_and_log_odds(store, values) -> None:
    kinds = {("a", q): "unrelated" for q in "xyz"}
    cells = {("a", "a"): 1.0, ("a", "x"): 0.0, ("a", "y"): 0.0, ("a", "z"): 0.0}
    connection = store(cells, kinds=kinds)
    for query, before, after, ranks in (("x", 0.2, 0.5, (2, 1)), ("y", 0.5, 0.2, (1, 3)), ("z", 0.1, 0.1, (2, 2))):
        connection.execute(
            "update influence set logprob_before = ln($2), logprob_after = ln($3), rank_before = $4, rank_after = $5 "
            "where query_id = $1",
            [query, before, after, *ranks],
        )
    # x and z had another answer before, and x gained it; y had it and lost it. Log-odds: ln 1 − ln ¼, its opposite, 0.
    assert values(connection, "classification", "unrelated: gained")["a"] == close(0.5)
    assert values(connection, "classification", "unrelated: lost")["a"] == close(1.0)
    assert values(connection, "classification", "unrelated: log-odds")["a"] == close(0.0)
    connection.execute("delete from influence where query_id in ('y', 'z')")
    found = values(connection, "classification", "unrelated: log-odds")
    assert found["a"] == pytest.approx(1.3862943611198906, rel=1e-6)


def test_log_odds_near_certainty_lose_no_digits(store, values) -> None:
    connection = store({("a", "a"): 1.0, ("a", "x"): 0.0}, kinds={("a", "x"): "unrelated"})
    connection.execute("update influence set rank_before = 1, rank_after = 1")
    connection.execute("update influence set logprob_before = -1e-6, logprob_after = -1e-9 where query_id = 'x'")
    # p/(1 − p) is 1/(1e-6 + 5e-13) − 1 and 1e9: a ratio of 1,000.
    found = values(connection, "classification", "unrelated: log-odds")
    assert found["a"] == pytest.approx(6.907755278982137, rel=1e-6)
