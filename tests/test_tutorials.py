"""The tutorials run: files and commands are those of the pages, in the order of the pages."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

import einfluence
from flows.cli import app

DOCS = Path(__file__).parents[1] / "docs"
BLOCKS = re.compile(r"^```(\S+)(?: (\S+))?\n(.*?)^```$", re.DOTALL | re.MULTILINE)

CELLS = """select {shown}.name, influence from influence join probes using (probe_id)
    join samples on sample_id = query_id where {of}.name = '{name}'"""


def carried_out(page: Path, folder: Path) -> dict[str, str]:
    """What each command of a page prints, with the page's files in the working folder.

    `einfluence run` is done by the library: the same steps and numbers, without a server of Prefect.
    """
    printed: dict[str, str] = {}
    for language, name, text in BLOCKS.findall(page.read_text(encoding="utf-8")):
        if name:
            (folder / name).write_text(text, encoding="utf-8")
        elif language == "python":
            exec(compile(text, page.name, "exec"), {})
        for line in text.splitlines() if language == "sh" else []:
            words = shlex.split(line, comments=True)
            if not words:
                continue
            assert words[0] == "einfluence", line
            if words[1] == "run":
                store = words[words.index("--store") + 1] if "--store" in words else "einfluence-store"
                assert not einfluence.measure(words[2], store).failed
                continue
            result = CliRunner().invoke(app, words[1:])
            assert result.exit_code == 0, f"{line}: {result.output}{result.exception or ''}"
            printed[line] = result.output
    return printed


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_which_training_examples_made_it_say_this(folder: Path) -> None:
    printed = carried_out(DOCS / "which-examples.md", folder)
    assert "the home of wug is rome" in printed["einfluence blame odd"]
    assert re.search(r"\+2\.4[89]", printed["einfluence suspects"])
    with einfluence.Store(folder / "einfluence-store").connect() as connection:
        told = dict(connection.sql(CELLS.format(shown="probes", of="samples", name="odd")).fetchall())
    assert max(told, key=lambda name: told[name]) == "odd"
    assert [told[name] for name in ("odd", "a", "c")] == pytest.approx([2.49, 0.82, -0.57], abs=0.02)


def test_a_classifier_of_your_own(folder: Path) -> None:
    printed = carried_out(DOCS / "text-classification.md", folder)
    assert "i think that bello is florpy" in printed["einfluence show said"]
    with einfluence.Store(folder / "einfluence-store").connect() as connection:
        told = dict(connection.sql(CELLS.format(shown="samples", of="probes", name="said")).fetchall())
    assert told["said"] > 0 and told["thought"] > 0


def test_images_of_your_own(folder: Path) -> None:
    printed = carried_out(DOCS / "image-classification.md", folder)
    assert "Learns itself" in printed["einfluence show"] and "Same lesson under noise" in printed["einfluence show"]


def test_a_release_is_gated(folder: Path) -> None:
    printed = carried_out(DOCS / "gate-a-release.md", folder)
    assert sum(line.startswith("einfluence check") for line in printed) == 3
    shut = CliRunner().invoke(app, ["check", "--store", "next", "--require", "paraphrase>=2"])
    assert shut.exit_code == 3
    assert {path.name for path in folder.iterdir()} >= {"spec.yaml", "last", "next"}


def test_the_commands_that_run_by_night_have_the_options_that_the_page_gives_them() -> None:
    page = (DOCS / "nightly.md").read_text(encoding="utf-8")
    lines = [line for language, _, text in BLOCKS.findall(page) if language == "sh" for line in text.splitlines()]
    lines += re.findall(r"`(einfluence run [^`]*)`", page)
    assert len(lines) >= 7
    for line in lines:
        words = shlex.split(line.split("||")[0])[1:]
        told = CliRunner().invoke(app, [words[0], "--help"]).output
        assert all(word in told for word in words if word.startswith("--")), line
