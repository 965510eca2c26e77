"""What removals did, on a few rows whose answer was worked by hand (the working is in the comments)."""

from __future__ import annotations

from typing import Any

import pytest

from einfluence.metrics import compare, score
from tests.metrics.trained import remove, trained_store

FULL = {"q": -1.0, "r": -2.0, "s": -3.0, "q1": -1.0, "a": -1.0}
CELLS = {
    ("a", "q"): 0.5, ("a", "r"): -0.25, ("a", "s"): 0.125, ("a", "q1"): 9.0, ("a", "a"): 9.0,
    ("b", "q"): 1.0, ("b", "r"): 0.5, ("b", "s"): 0.0, ("b", "q1"): 9.0, ("b", "a"): 9.0,
    ("c", "q"): 0.0, ("c", "r"): 0.0, ("c", "s"): 0.0, ("c", "q1"): 9.0, ("c", "a"): 9.0,
}  # fmt: skip
BY = {"method": "highest", "chosen_by": "leave_one_out", "share": 0.5}


def close(number: float) -> Any:
    return pytest.approx(number, rel=1e-12, abs=1e-12)


def moved(**by: float) -> dict[str, float]:
    """What a training says that moved queries by so much from the full one; q1 and a, which do not judge, by 7."""
    return {query: said + by.get(query, 7.0) for query, said in FULL.items()}


@pytest.fixture
def store():
    return trained_store("abcd", full=FULL, cells={"leave_one_out": CELLS, "dot!": CELLS})


def test_the_change_of_queries_that_judge_beside_as_many_removed_at_random(store, values) -> None:
    remove(store, "abcd", "ab", moved(q=-2.0, r=0.5, s=0.25), **BY)
    for draw, gone in enumerate(("cd", "ac")):
        remove(store, "abcd", gone, moved(q=draw, r=0.5, s=-1.0), method="random", share=0.5, draw=draw)
    remove(store, "abcd", "d", moved(q=5.0, r=5.0, s=5.0), method="random", share=0.25, draw=0)  # of another share
    found = values(store, "removal", "highest 50%: nats", "leave_one_out")
    # a is in the set, and on q1 samples were chosen; of two draws q moved by 0 and 1.
    assert found == {"q": -2.0, "null:q": 0.5, "r": 0.5, "null:r": 0.5, "s": 0.25, "null:s": -1.0}
    drawn = values(store, "removal", "random 50%: nats", "leave_one_out")
    assert drawn == {"q": 0.5, "null:q": 0.0, "r": 0.5, "null:r": 0.0, "s": -1.0, "null:s": 0.0}
    assert values(store, "removal", "random 25%: nats", "leave_one_out") == {}  # nothing was chosen of that share


def test_the_prediction_is_minus_the_sum_of_what_was_removed_and_orders_queries_or_not(store, values) -> None:
    remove(store, "abcd", "ab", moved(q=-2.0, r=0.5, s=0.25), **BY)
    predicted = values(store, "removal", "highest 50%: predicted", "leave_one_out")
    assert [predicted[query] for query in "qrs"] == [close(-1.5), close(-0.25), close(-0.125)]
    agreement = values(store, "removal", "highest 50%: kendall", "leave_one_out")
    # Predicted q < r < s, measured q < s < r: q is in order with both, r and s with q alone.
    assert [agreement[query] for query in "qrs"] == [1.0, 0.0, 0.0]
    remove(store, "abcd", "ad", moved(q=0.0), **{**BY, "share": 0.25})  # d has no cells: no sum, but a change
    assert values(store, "removal", "highest 25%: predicted", "leave_one_out") == {}
    assert values(store, "removal", "highest 25%: nats", "leave_one_out")["q"] == 0.0


def test_a_group_is_predicted_by_its_own_influence_and_by_its_members_where_these_are_probes(values) -> None:
    cells = {**CELLS, ("d", "q"): 3.0}
    store = trained_store("abcd", full=FULL, cells={"leave_one_out": cells})
    store.execute("insert into probes (probe_id, name, kind) values ('p:both', 'both', 'bundle')")
    store.execute("insert into probe_members values ('p:both', 0, 'a'), ('p:both', 1, 'b')")
    store.execute("insert into influence (base, estimator, recipe, probe_id, query_id, seed, influence)"
                  " values ('b', 'leave_one_out', 'leave_one_out', 'p:both', 'q', 0, 100.0)")  # fmt: skip
    remove(store, "abcd", "abd", moved(q=0.0), **BY)
    assert values(store, "removal", "highest 50%: predicted", "leave_one_out")["q"] == close(-0.5 - 1.0 - 3.0)
    for name in "ab":
        store.execute(f"delete from influence where probe_id = 'p:{name}'")
        store.execute(f"delete from probes where probe_id = 'p:{name}'")
    assert values(store, "removal", "highest 50%: predicted", "leave_one_out")["q"] == close(-100.0 - 3.0)


def test_of_a_single_decision_its_own_query_counts_alone(store, values) -> None:
    for query, gone in (("q", "ab"), ("r", "bc")):
        remove(store, "abcd", gone, moved(q=-1.0, r=-2.0, s=-4.0), query_id=query, **BY)
    remove(store, "abcd", "cd", moved(q=-0.5, r=0.0, s=0.0), method="random", share=0.5, draw=0)
    found = values(store, "removal", "highest, single decisions 50%: nats", "leave_one_out")
    assert found == {"q": -1.0, "null:q": -0.5, "r": -2.0, "null:r": 0.0}
    predicted = values(store, "removal", "highest, single decisions 50%: predicted", "leave_one_out")
    assert (predicted["q"], predicted["r"]) == (close(-1.5), close(-0.5))
    drawn = values(store, "removal", "random, single decisions 50%: nats", "leave_one_out")
    assert drawn == {"q": -0.5, "null:q": 0.0, "r": 0.0, "null:r": 0.0}


def test_an_estimate_has_rows_of_its_own_and_a_users_query_is_a_row_of_the_first_arm(store, values) -> None:
    remove(store, "abcd", "bc", moved(q=-1.0), **{**BY, "chosen_by": "dot"})
    remove(store, "abcd", "ac", moved(q=-2.0), method="lowest", share=0.5, json='{"by": "queries/mine.sql"}')
    assert values(store, "removal", "highest 50%: nats", "dot")["q"] == -1.0
    assert values(store, "removal", "highest 50%: predicted", "dot")["q"] == close(-1.0)
    assert values(store, "removal", "lowest by mine.sql 50%: nats", "leave_one_out")["q"] == -2.0
    assert values(store, "removal", "lowest by mine.sql 50%: predicted", "leave_one_out") == {}
    assert values(store, "removal", "lowest by mine.sql 50%: nats", "dot") == {}


def test_queries_of_a_second_stage_do_not_judge(store, values) -> None:
    store.execute("""update training_sets set json = '{"then": {"samples": ["q", "x"]}}'""")
    remove(store, "abcd", "ab", moved(q=-2.0), **BY)
    assert values(store, "removal", "highest 50%: nats", "leave_one_out").keys() == {"r", "s", "null:r", "null:s"}


def test_the_interval_of_a_control_holds_other_draws(values) -> None:
    queries = [f"q{letter}" for letter in "abcdefgh"]
    cells = {(probe, query): 1.0 for probe in "abcd" for query in queries}
    store = trained_store("abcd", full=dict.fromkeys(queries, -1.0), cells={"leave_one_out": cells})
    for share in (0.5, 0.25):
        remove(store, "abcd", "ab", dict.fromkeys(queries, 0.0), **{**BY, "share": share})
    for draw, gone in enumerate(("cd", "ac", "bd")):  # each does the same to all queries: 1, 2 and 3 nats
        remove(store, "abcd", gone, dict.fromkeys(queries, float(draw)), method="random", share=0.5, draw=draw)
    remove(store, "abcd", "c", dict.fromkeys(queries, 0.5), method="random", share=0.25, draw=0)
    found = {row["variant"]: row for row in score(store, draws=50).to_pylist() if row["desideratum"] == "removal"}
    # Queries do not differ. The mean of three draws has a standard error of 1/sqrt(3); t with 2 degrees is 4.3027.
    three, one = found["random 50%: nats"], found["random 25%: nats"]
    assert (three["value"], three["p_value"], three["note"]) == (2.0, None, None)
    assert [three["ci_low"], three["ci_high"]] == pytest.approx([2 - 4.3026527 / 3**0.5, 2 + 4.3026527 / 3**0.5])
    assert (one["value"], one["ci_low"], one["ci_high"]) == (1.5, None, None)
    assert one["note"] == "one draw, so no interval"
    compared = {row["variant"]: row for row in compare(store, store, draws=50).to_pylist()}
    assert (compared["random 50%: nats"]["difference"], compared["random 50%: nats"]["ci_low"]) == (0.0, None)
    assert "each scorecard has its own interval" in compared["random 50%: nats"]["note"]
    assert compared["highest 50%: nats"]["ci_low"] == 0.0


def test_rows_of_the_scorecard_say_which_and_how_many_in_columns_and_are_not_judged(values) -> None:
    queries = [f"q{letter}" for letter in "abcdefgh"]
    full = dict.fromkeys(queries, -1.0)
    cells = {(probe, query): float(ord(query[1])) for probe in "abcd" for query in queries}
    store = trained_store("abcd", full=full, cells={"leave_one_out": cells})
    remove(store, "abcd", "ab", {query: -1.0 - place for place, query in enumerate(queries)}, **BY)
    found = {row["variant"]: row for row in score(store, draws=50).to_pylist() if row["desideratum"] == "removal"}
    row = found["highest 50%: nats"]
    assert (row["kind"], row["level"], row["formula"], row["verdict"]) == ("highest", 0.5, "nats", "described")
    assert (row["value"], row["n"], row["null_value"]) == (-3.5, 8, None)
    assert found["highest 50%: kendall"]["value"] == 1.0 and found["highest 50%: kendall"]["verdict"] == "met"
