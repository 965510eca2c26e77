"""What notebooks show is escaped, complete, and readable on light and dark ground."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import duckdb
import pytest

import einfluence
from einfluence.report.notebook import COLOURS, html, scorecard_of
from einfluence.report.query import parts_uncounted
from einfluence.report.scorecard import scorecard
from einfluence.score import Result

NASTY = "<script>window.pwned = 1</script> \x1b[31m \u202e & \"'"


class Tags(HTMLParser):
    """The tags of a text that are not closed in order, and all text in them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def shown(store: duckdb.DuckDBPyConnection) -> str:
    return scorecard_of(store)._repr_html_()  # pyright: ignore[reportPrivateUsage]


def test_every_line_of_the_scorecard_is_there_with_its_verdict(store: duckdb.DuckDBPyConnection, shown: str) -> None:
    read = Tags(shown)
    assert read.open == []
    lines = 0
    for part in parts_uncounted(store):
        for item in scorecard(store, part)["desiderata"]:
            assert item["title"] in read.text
            for line in item["lines"]:
                lines += 1
                assert f"{line['symbol']} {line['verdict']} {line['shown']} {line['interval']}" in read.text
    assert lines > 10 and shown.count("<td title=") == lines


def test_printed_it_is_the_scorecard_of_the_terminal(store: duckdb.DuckDBPyConnection) -> None:
    printed = repr(scorecard_of(store))
    assert "Learns itself" in printed and "\x1b" not in printed


def test_texts_are_escaped_and_control_characters_visible() -> None:
    cell = {"verdict": "met", "symbol": "✓", "shown": "1", "interval": "–", "sentence": NASTY, "share": 40}
    part = {"label": NASTY, "arms": [NASTY], "rows": [{"title": NASTY, "cells": [cell]}]}
    result = Result(2, 0, 2, 1, 1.5, NASTY, NASTY, {NASTY: NASTY})
    written = html([part], result)
    read = Tags(written)
    assert read.open == [] and "script" not in read.seen
    assert read.text.count("window.pwned") == 7 and not set("\x1b\u202e") & set(written)
    assert 'style="width: 40%"' in written


def test_a_result_shows_its_counts_failures_and_scorecard(tmp_path: Path, gpt2_folder: Path) -> None:
    (tmp_path / "samples.jsonl").write_text('{"id": "a", "prompt": "dax is a", "target": "bird"}\n')
    (tmp_path / "spec.yaml").write_text(
        f"base: {gpt2_folder}\nsamples: samples.jsonl\narms: [{{recipe: {{steps: 1}}}}]\n"
    )
    result = einfluence.measure(tmp_path / "spec.yaml", tmp_path / "store", report=False)
    text = Tags(result._repr_html_()).text  # pyright: ignore[reportPrivateUsage]
    assert "1 of 1 cells computed, 0 probes failed" in text and str(tmp_path / "store") in text
    assert "Learns itself" in text and repr(result.scorecard()) == repr(einfluence.scorecard(tmp_path / "store"))
    with pytest.raises(einfluence.InputError, match="which holds no store"):
        einfluence.scorecard(tmp_path / "nowhere")


def test_a_result_whose_store_is_gone_still_shows_what_it_did(tmp_path: Path) -> None:
    gone = Result(3, 1, 2, 0, 4.0, str(tmp_path / "gone"), None)
    assert "2 of 3 cells computed" in gone._repr_html_()  # pyright: ignore[reportPrivateUsage]


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("ground", ["#ffffff", "#111111"])
def test_signs_and_bars_stand_out_on_light_and_dark_and_words_take_the_notebooks_colour(
    shown: str, ground: str
) -> None:
    for name, colour in COLOURS.items():
        low, high = sorted((luminance(colour), luminance(ground)))
        assert (high + 0.05) / (low + 0.05) >= 3, name
    style = shown[shown.index("<style>") : shown.index("</style>")]
    named = set(re.findall(r"(?<![-\w])color: ([^;]+);", style))
    assert named == {"inherit", COLOURS["met"], COLOURS["violated"]}
