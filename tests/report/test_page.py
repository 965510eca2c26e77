from __future__ import annotations

import base64
import json
import math
import re
from pathlib import Path
from xml.etree import ElementTree

import duckdb
import numpy as np
import pytest
from rich.console import Console

from einfluence.errors import InputError
from einfluence.keys import content_hash
from einfluence.report import figures, show_probe, show_scorecard, write_report
from einfluence.report.export import paint
from einfluence.report.matrix import CELLS, asymmetry, blocks, both_of, encode, groups, most_of
from einfluence.report.payload import script_json
from einfluence.report.provenance import engines
from einfluence.report.query import parts_of, prepared
from einfluence.report.sections import _short_names
from einfluence.report.terminal import times
from einfluence.report.words import sentence
from tests.report.conftest import RUN
from tests.report.tables import HOSTILE, TEXT_ARMS, Tables, small_store, text_part


def test_the_page_is_one_file_of_modest_size_that_names_no_other(page_file: Path) -> None:
    html = re.sub(r"(<script[^>]*>).*?</script>", r"\1", page_file.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert page_file.stat().st_size < 8_000_000
    assert not re.search(r"<(?:link|img|script|iframe)[^>]+(?:src|href)=[\"'](?!data:)", html)
    assert [path.name for path in page_file.parent.iterdir()] == ["report.html"]


def test_no_text_of_a_user_ends_a_script_or_opens_a_tag(page_file: Path) -> None:
    html = page_file.read_text(encoding="utf-8")
    assert html.count("</script>") == html.count("<script") == 3
    assert "<script>window.pwned" not in html and "<img src=x" not in html
    assert "<b>study</b>" not in html and "&lt;b&gt;study" in html


@pytest.mark.parametrize("text", [*HOSTILE, "<!--", "]]>"])
def test_json_for_a_script_element_keeps_its_text_and_no_markup(text: str) -> None:
    written = script_json([text])
    assert not set("<>&\u2028\u2029") & set(written)
    assert json.loads(written) == [text]


def test_a_store_without_cells_gets_a_page_too(tmp_path: Path) -> None:
    out = write_report(Tables().connect(), tmp_path / "empty.html", run={})
    assert "The store is empty" in out.read_text(encoding="utf-8")


def test_the_provenance_names_hashes_versions_counts_exclusions_and_how_to_run_it_again(
    store: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    run = {
        "spec": {"name": "x", "parts": []},
        "versions": {"torch": "2.13"},
        "wanted": 1234,
        "computed": 1200,
        "seconds": 3,
    }
    html = write_report(store, tmp_path / "r.html", run=run).read_text(encoding="utf-8")
    facts = dict(re.findall("<dt>(.*?)</dt><dd>(.*?)</dd>", html))
    assert facts["Cells wanted"] == "1,234" and facts["Cells computed"] == "1,200" and facts["Time"] == "3 s"
    assert facts["Versions"] == "torch 2.13" and facts["Hash of the spec"] == content_hash(run["spec"])
    # The gate lets 98% of 38 probes through in each arm of the texts.
    assert facts["Probes excluded"].startswith("1 (fine-tuned, AdamW)") and facts["Why probes failed"]
    assert "einfluence run spec.yaml" in html and "arXiv 2406.00509" in html and "do not mean" in html


def test_the_provenance_says_which_engine_measured_why_a_faster_one_was_passed_over_and_how_large_the_noise_is() -> (
    None
):
    tables = Tables()
    text_part(tables, facts=4, arms=TEXT_ARMS[:2])
    plain, _ = (recipe["recipe"] for recipe in tables.rows["recipes"])
    for place, row in enumerate(row for row in tables.rows["outcomes"] if row["recipe"] == plain):
        row["engine"] = "definition" if place == 0 else "batched lora"
        row["fallback"] = "the two differ by 3 nats" if place == 0 else None
        row["noise_rms"] = 0.001 * place
    connection = tables.connect()
    with prepared(connection):
        found = engines(connection, parts_of(connection)[0].arms)  # the other arm was written before this was noted
    assert found == [
        ("Engine", "fine-tuned, SGD: batched lora (2 probes), definition (1 probe)"),
        ("Faster engine passed over", "fine-tuned, SGD: the two differ by 3 nats"),
        ("Noise of rounding", "fine-tuned, SGD: root mean square of 0.002 nats for the noisiest probe"),
    ]


def test_the_page_opens_with_findings_and_counts_of_each_part(page_file: Path) -> None:
    html = page_file.read_text(encoding="utf-8")
    top = html[: html.index('<nav class="contents"')]
    assert "Training on a fact raises its negation along with its paraphrase." in top
    assert "Not so when in the prompt." in top
    assert [text for text in re.findall(r"</span> (\d+)<span class=\"word\"> met", top)][:3] == ["5", "5", "7"]


def test_a_sample_is_called_a_fact_a_text_or_an_image_by_what_its_base_is_asked() -> None:
    connection = small_store()

    def things() -> list[str]:
        with prepared(connection):
            return [part.thing for part in parts_of(connection)]

    assert things() == ["fact", "image"]
    connection.execute("update bases set json = '{\"objective\": \"sequence_class\"}' where modality = 'text'")
    assert things() == ["text", "image"]
    line = {"desideratum": "negation", "variant": "contrast", "formula": "contrast", "kind": None, "level": None}
    said = sentence({**line, "verdict": "violated", "value": 0.0}, "in_context", "text")
    assert said.startswith("Putting a text into the prompt raises")


def test_writing_a_report_leaves_the_connection_as_it_was(store: duckdb.DuckDBPyConnection, page_file: Path) -> None:
    left = store.execute("select table_name from information_schema.tables where table_name like 'report%'").fetchall()
    assert left == []


def test_two_reports_of_one_store_are_the_same(
    store: duckdb.DuckDBPyConnection, page_file: Path, tmp_path: Path
) -> None:
    again = write_report(store, tmp_path / "again.html", run=RUN)
    assert again.read_bytes() == page_file.read_bytes()


def test_blocks_are_means_of_the_cells_that_are_there() -> None:
    whole = np.array([[1, 3, 5], [5, 7, np.nan], [2, np.nan, np.nan]], dtype=np.float32)
    means, high, wide = blocks(whole, most=2)
    assert (high, wide) == (2, 2)
    np.testing.assert_allclose(means, [[4, 5], [2, np.nan]])


def test_asymmetry_compares_both_ways_between_samples_that_are_probe_and_query() -> None:
    matrix = np.array([[9, 1, 2], [4, 8, 3]], dtype=np.float32)  # probes a, b on queries a, b, c
    both = both_of(["a", "b"], ["a", "b", "c"])
    assert both == [(0, 0), (1, 1)]
    np.testing.assert_allclose(asymmetry(matrix, both), [[0, 3], [3, 0]])


def test_the_pictures_of_many_arms_keep_within_their_share_of_bytes() -> None:
    assert most_of((1000, 1000), 3) >= 1000
    for arms in (5, 20, 100):
        assert arms * most_of((5000, 5000), arms) ** 2 <= CELLS


def test_values_travel_as_half_floats() -> None:
    values = np.array([[1.5, -0.25, np.nan, 1e9]], dtype=np.float32)
    back = np.frombuffer(base64.b64decode(encode(values)), dtype="<f2")
    np.testing.assert_allclose(back, [1.5, -0.25, np.nan, 65504])


def test_runs_of_a_domain_are_found() -> None:
    assert groups(["a", "a", "b", "a"]) == [(0, 2, "a"), (2, 3, "b"), (3, 4, "a")]
    assert groups([]) == []


def test_a_picture_shows_hurt_in_brown_helped_in_blue_and_nothing_as_paper() -> None:
    picture = np.asarray(paint(np.array([[-2.0, 0.0, 2.0, np.nan]], dtype=np.float32), limit=1.0)).astype(int)
    hurt, none, helped, missing = picture[0]
    assert hurt[0] > hurt[2] and helped[2] > helped[0]
    assert none.min() > 240 and tuple(missing) != tuple(none)


def test_figures_are_written_in_every_format_without_a_browser(tmp_path: Path) -> None:
    connection = small_store(hostile=True)
    drawn = figures(connection, tmp_path / "svg", "svg", "auto")
    for path in drawn:
        ElementTree.fromstring(path.read_text(encoding="utf-8"))
    names = {path.stem for path in drawn}
    assert {"scorecard-text", "scorecard-image", "arms-text", "matrix-text-0", "noise-quality-image"} <= names
    assert {path.stem for path in figures(connection, tmp_path / "png", "png", "dark")} == names
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in (tmp_path / "png").iterdir())
    with pytest.raises(InputError, match="auto with svg alone"):
        figures(connection, tmp_path, "pdf", "auto")


def _printed(thing: object) -> str:
    console = Console(width=140, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.file:
        console.print(thing)
    return console.export_text()


def test_the_terminal_shows_verdicts_with_symbol_and_bar() -> None:
    text = _printed(show_scorecard(small_store()))
    assert re.search(r"Negation falls\s+✗ ·+ 0\.00\s+✗ ·+ 0\.00\s+✓ █+ 1\.00", text)


def test_the_terminal_shows_what_a_probe_helped_and_hurt() -> None:
    connection = small_store()
    text = _printed(show_probe(connection, "geography/0"))
    best = connection.execute(
        "select max(influence) from influence join probes using (probe_id) where name = 'geography/0'"
    ).fetchall()[0][0]
    assert f"+{best:.3f}" in text and "negation" in text
    assert f"{math.exp(best):,.0f} ×" in text and "as likely" in text


def test_nats_are_told_as_how_many_times_as_likely() -> None:
    told = {2.1: "8.2 ×", 0.0: "1.0 ×", -0.01: "1.0 ×", -1.1: "1/3.0 ×", 5.0: "148 ×", 99: "over 1,000,000 ×"}
    assert {nats: times(nats) for nats in told} == told


def test_markup_in_a_sample_is_printed_as_it_stands() -> None:
    tables = Tables()
    text_part(tables)
    for sample in tables.rows["samples"]:
        sample["prompt"] = "[bold red]" + sample["prompt"]
    assert "[bold red]The river" in _printed(show_probe(tables.connect(), "geography/0"))


def test_an_unknown_probe_is_named_with_what_to_do() -> None:
    with pytest.raises(InputError, match="no probe"):
        show_probe(small_store(), "nobody")


def test_names_of_weights_lose_what_all_share() -> None:
    names = ["model.layers.mlp.up.weight", "model.layers.attn.q.weight", "model.layers.attn.q.bias"]
    assert list(_short_names(names).values()) == ["mlp.up", "attn.q", "attn.q.bias"]
    assert _short_names(["weight"]) == {"weight": "weight"} and _short_names([]) == {}


def test_of_two_bases_of_texts_the_one_with_more_trainings_comes_first_and_both_have_figures(tmp_path: Path) -> None:
    tables = Tables()
    text_part(tables, facts=6)
    connection = tables.connect()
    connection.execute("insert into bases select * replace (repeat('a', 20) as base, 'small' as label) from bases")
    for name in ("influence", "outcomes"):
        one = "recipe = (select min(recipe) from recipes)"
        connection.execute(f"insert into {name} select * replace (repeat('a', 20) as base) from {name} where {one}")
    with prepared(connection):
        assert [part.label for part in parts_of(connection)] == ["embedded:world", "small"]
    names = {path.stem for path in figures(connection, tmp_path)}
    assert {"matrix-text-0", "matrix-text-0-base-2"} <= names
