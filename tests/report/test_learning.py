"""Learning curves on the page, of a made-up training that was watched."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from einfluence.report import write_report
from einfluence.report.learning import learning
from einfluence.report.query import parts_of, prepared
from tests.metrics.trained import trained_store

END = {"a": -0.5, "b": -1.0, "c": -2.5, "q": -2.0}


@pytest.fixture
def store() -> duckdb.DuckDBPyConnection:
    watched = {1: dict.fromkeys(END, -3.0), 2: {"a": -1.0, "b": -2.0, "c": -3.0, "q": -2.5}}
    cells = {"leave_one_out": {(probe, query): 0.5 for probe in "abc" for query in END}}
    made = trained_store("abc", full=END, watched=watched, cells=cells)
    made.execute("update training_scores set logprob_base = -4.0")
    made.execute("update trainings set losses = [1.0, 1.0, 1.0] where kind = 'full'")
    made.execute("insert into recipes (recipe, estimator, label) values ('way', 'training', 'SGD')")
    return made


def test_a_curve_begins_with_the_model_before_and_ends_with_the_training(store: duckdb.DuckDBPyConnection) -> None:
    with prepared(store):
        figure = learning(store, parts_of(store)[0])
    assert figure is not None
    curves: dict[str, list[tuple[object, object]]] = {}
    for panel, _, step, nats in figure.numbers:
        curves.setdefault(str(panel), []).append((step, nats))
    assert list(curves) == [
        "its samples, on average",
        "what is held out, on average",
        "a",
        "b",
        "c",
    ]  # most moved first
    assert curves["a"] == [(0, "−4.00"), (1, "−3.00"), (2, "−1.00"), (3, "−0.50")]
    assert curves["its samples, on average"] == [(0, "−4.00"), (1, "−3.00"), (2, "−2.00"), (3, "−1.33")]
    assert curves["what is held out, on average"][-1] == (3, "−2.00")


def test_the_page_has_them_where_a_training_was_watched(store: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    page = write_report(store, tmp_path / "report.html", run={}).read_text()
    assert "Learning curves" in page and "what is held out, on average, step 3" in page
    store.execute("delete from trainings where kind = 'watched'")
    assert "Learning curves" not in write_report(store, tmp_path / "report.html", run={}).read_text()
