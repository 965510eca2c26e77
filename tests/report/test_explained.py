"""Decisions on the page: their words in colours, beside the samples that made them likelier."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from einfluence.report import write_report
from einfluence.report.explained import explained
from einfluence.report.query import parts_of, prepared
from tests.metrics.trained import explain, trained_store

SAID = {
    "q": ((" <dog>", -2.0), (" dog", 1.0), ("s", 0.5)),
    "r": (("dog", 0.0),),
    "u": (("a", 0.1),),
    "v": (("b", 0.2),),
}


@pytest.fixture
def store() -> duckdb.DuckDBPyConnection:
    texts = {"a": "dog", "b": "cat", "q": "<dog> dogs", "r": "dog", "u": "a", "v": "b"}
    cells = {("a", "q"): 0.5, ("b", "q"): -0.25, ("a", "r"): 0.125}
    samples = {name: {"prompt": text, "target": "!"} for name, text in texts.items()}
    made = trained_store("ab", full={"a": -1.0, "q": -2.0}, cells={"leave_one_out": cells}, samples=samples)
    explain(made, SAID)
    made.execute("insert into recipes (recipe, estimator, label) values ('way', 'training', 'SGD')")
    return made


def test_the_decisions_that_words_say_most_of_stand_beside_samples(store: duckdb.DuckDBPyConnection) -> None:
    with prepared(store):
        found = explained(store, parts_of(store)[0])
    assert [one["name"] for one in found] == ["q", "v", "u"]  # three, by the word that says most
    first = found[0]
    assert [(piece["side"], piece["share"]) for piece in first["pieces"]] == [
        ("hurt", 45),
        ("helped", 22),
        ("helped", 11),
    ]
    assert first["because"] == [("dog !", "0.50"), ("cat !", "−0.25")]
    assert first["words"] == [("dog", "1.00", 1, "0.50", "−0.25"), ("s", "0.50", 0, "–", "0.12")]
    assert (first["gap"], found[1]["gap"], first["columns"]) == ("", " ", None)


def test_of_a_picture_its_patches_lie_on_it(store: duckdb.DuckDBPyConnection) -> None:
    store.execute("update saliency set token = null, patch_row = 0, patch_column = position where query_id = 'q'")
    store.execute("update samples set pixels = [0.0, 0.5, 1.0], shape = [1, 1, 3], modality = 'image' where name = 'q'")
    with prepared(store):
        found = explained(store, parts_of(store)[0])[0]
    assert found["columns"] == 3 and found["picture"].startswith("data:image/png") and found["words"] == []
    assert found["pieces"][0] == {"text": "", "nats": "−2.00", "side": "hurt", "share": 80}


def test_the_page_has_them_where_a_run_asked_for_words(store: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    page = write_report(store, tmp_path / "report.html", run={}).read_text()
    assert "Words beside samples" in page and 'title="−2.00"> &lt;dog&gt;</span>' in page
    store.execute("delete from saliency")
    assert "Words beside samples" not in write_report(store, tmp_path / "report.html", run={}).read_text()
