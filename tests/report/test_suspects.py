"""Samples to look at, of a made-up training set."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from einfluence.errors import InputError
from einfluence.report import write_report
from einfluence.report.suspects import show_suspects, suspects
from tests.metrics.trained import trained_store
from tests.report.tables import small_store

LABELLED = {name: {"label": 0, "label_name": "cat"} for name in "abcq"} | {name: {"label": 1} for name in "dr"}
CELLS = {
    ("a", "a"): 2.0, ("a", "q"): -1.0, ("a", "r"): 0.5,  # helps itself, harms its class: −0.25 a query
    ("b", "b"): 3.0, ("b", "q"): 1.0, ("b", "r"): 1.0,  # helps all
    ("c", "c"): -1.0, ("c", "q"): -1.0, ("c", "r"): -2.0,  # harms all, itself too: −1.5 a query
    ("d", "d"): 0.5, ("d", "q"): 0.25, ("d", "r"): 0.25,
}  # fmt: skip


def test_suspects_are_listed_by_reason_with_what_dropping_them_does() -> None:
    store = trained_store(
        "abcd", cells={"leave_one_out": CELLS}, samples=LABELLED, modality="image", claims={("d", "b"): "paraphrase"}
    )
    found = suspects(store, 2).to_pylist()
    assert [(row["reason"], row["sample"], row["value"], row["dropped"]) for row in found] == [
        ("mislabelled", "a", 2.0, 0.25),
        ("memorised", "b", 3.0, -1.0), ("memorised", "a", 2.0, 0.25),
        ("duplicated", "d", 0.5, -0.25),
        ("harmful", "c", -1.5, 1.5), ("harmful", "a", -0.25, 0.25),
    ]  # fmt: skip
    assert {row["how"] for row in found} == {"measured"}
    assert found[0]["why"] == "owes itself +2.00 nats, moves its class elsewhere by -1.00"
    assert (found[0]["text"], found[3]["why"]) == ("a, cat", "is much like b")
    written = StringIO()
    Console(file=written, width=120).print(show_suspects(suspects(store)))
    assert "Likely mislabelled" in written.getvalue() and "+1.5" in written.getvalue()


def test_near_duplicates_are_there_twice_and_with_another_label_contradicted() -> None:
    claims = {("d", "b"): "near_duplicate", ("b", "a"): "contradiction", ("a", "b"): "contradiction"}
    store = trained_store("abcd", cells={"leave_one_out": CELLS}, samples=LABELLED, modality="image", claims=claims)
    found = [(row["reason"], row["sample"], row["why"]) for row in suspects(store).to_pylist()]
    assert [row for row in found if row[0] in ("contradicted", "duplicated")] == [
        ("contradicted", "b", "reads nearly as a, which has another label"),
        ("contradicted", "a", "reads nearly as b, which has another label"),
        ("duplicated", "d", "is much like b"),
    ]


def test_the_page_says_what_a_set_taught_and_which_samples_to_look_at(tmp_path: Path) -> None:
    full = dict.fromkeys("abcd", -0.5) | {"q": -2.0, "r": -0.75}
    seen = {name: row | {"pixels": [0.0, 1.0], "shape": [1, 1, 2]} for name, row in LABELLED.items()}
    store = trained_store("abcd", full=full, cells={"leave_one_out": CELLS}, samples=seen, modality="image")
    store.execute("update training_scores set logprob_base = -1.0")
    store.execute("insert into recipes (recipe, estimator, label) values ('way', 'training', 'SGD')")
    page = write_report(store, tmp_path / "report.html", run={}).read_text()
    said = (
        "4 samples, 1 epoch, SGD: its own samples gained 0.50 nats on average, and 100% of them are the first choice;"
    )
    rest = " what is held out gained \N{MINUS SIGN}0.38 nats on average, and 50% of it is the first choice."
    assert said + rest in page and 'href="#taught"' in page
    assert "owes itself +3.00 nats" in page and "1.500 (measured)" in page
    assert page.count('<img class="tile" src="data:image/png') == page.count("(measured)") == 6
    assert "<h1>What each sample of a training set did</h1>" in page
    assert 'id="taught"' not in write_report(small_store(), tmp_path / "other.html", run={}).read_text()


def test_without_a_training_set_there_are_no_suspects_and_without_queries_nothing_is_dropped() -> None:
    with pytest.raises(InputError, match="no sample of a training set"):
        suspects(small_store())
    store = trained_store("ab", cells={"leave_one_out": {("a", "a"): 1.0}, "subsets": {("a", "a"): 1.0}})
    [row] = suspects(store, estimator="leave_one_out").to_pylist()
    assert (row["reason"], row["dropped"], row["why"]) == ("memorised", None, "owes itself +1.00 nats")
    with pytest.raises(InputError, match="--estimator: found 'subsets'; expected one of leave_one_out"):
        suspects(store, estimator="subsets")
