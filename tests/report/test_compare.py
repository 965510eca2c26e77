from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from einfluence.errors import InputError
from einfluence.report import write_comparison, write_report
from einfluence.report.explore.view import probe, read
from tests.removals import Removals
from tests.report.tables import Tables, image_part, small_store, text_part


def _texts(negation: float | None = None) -> duckdb.DuckDBPyConnection:
    """Eight facts; with ``negation``, every influence on one is that many nats."""
    tables = Tables()
    text_part(tables, facts=8)
    wanted = {(row["probe_id"], row["query_id"]) for row in tables.rows["relations"] if row["kind"] == "negation"}
    for row in tables.rows["influence"]:
        if negation is not None and (row["probe_id"], row["query_id"]) in wanted:
            row["logprob_after"] = row["logprob_before"] + negation
    return tables.connect()


def test_a_comparison_shows_the_change_on_the_way_from_null_to_ideal(tmp_path: Path) -> None:
    out = write_comparison(_texts(), _texts(negation=-1.0), tmp_path / "c.html", names=("A", "<B>"))
    html = out.read_text(encoding="utf-8")
    assert "From A to &lt;B&gt;" in html and "<script" not in html
    # Never below 0 before, always after: P(negation < 0) goes from 0 to 1, twice the way from its null of 0.5 to 1.
    assert 'aria-label="Negation falls, fine-tuned, SGD: 2.00 (2.00 to 2.00)"' in html
    assert 'aria-label="Paraphrase, fine-tuned, SGD: 0.00 (0.00 to 0.00)"' in html


def test_stores_without_a_kind_of_arm_in_common_cannot_be_compared(tmp_path: Path) -> None:
    images = Tables()
    image_part(images, clean=2, extra=2)
    with pytest.raises(InputError, match="share probes"):
        write_comparison(_texts(), images.connect(), tmp_path / "c.html", names=("A", "B"))


def test_what_explore_shows_is_what_the_report_draws(
    store: duckdb.DuckDBPyConnection, page_file: Path, removals: Removals, tmp_path: Path
) -> None:
    of_a_set = removals[1].connect()
    stores = (
        (store, page_file, ["Verdict", "Training beside prompting", "Distance", "Noise", "Layers"]),
        (
            of_a_set,
            write_report(of_a_set, tmp_path / "report.html", run={}),
            ["Verdict", "Training set", "Actions", "Distance"],  # no room that nothing is in
        ),
    )
    for connection, page, rooms in stores:
        view, report = read(connection), " ".join(page.read_text().split())
        assert list(view.rooms) == rooms
        for html in view.rooms.values():
            room = " ".join(html.split('<div class="room">')[1].removesuffix("</div>").split())
            assert len(room) > 500 and room in report
        assert len(view.matrices) == (5 if connection is store else 1)  # three arms of texts and two of images


def test_explore_escapes_the_texts_of_a_probe() -> None:
    connection = small_store(hostile=True)
    assert "<script" not in probe(connection, "geography/0") and "&lt;script" in probe(connection, "geography/0")
    assert "no probe" in probe(connection, "<b>nobody")
