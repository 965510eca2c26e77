"""A store is read by other programs in the very lines that docs/data-model.md shows."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

import einfluence
from einfluence.store.store import Store

PAGE = (Path(__file__).parents[2] / "docs" / "data-model.md").read_text(encoding="utf-8")
SECTION = PAGE.split("\n## Without einfluence")[1].split("\n## ")[0]
LINES = {block.split()[1]: block for block in re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)}
TOOLS = {"duckdb": "df", "polars": "to_pandas", "pandas": "copy"}  # and what makes a frame of pandas of its table


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, gpt2_folder: Path) -> Path:
    """A store with arms of two kinds, one of them within a training set, each part there twice."""
    folder = tmp_path_factory.mktemp("tools")
    rows = [("a", "dax is a", "bird"), ("b", "wug is a", "fish")]
    lines = [f'{{"id": "{name}", "prompt": "{prompt}", "target": "{target}"}}' for name, prompt, target in rows]
    (folder / "samples.jsonl").write_text("\n".join(lines))
    arms = "[{recipe: {steps: 1}}, {estimator: leave_one_out, recipe: {lr: 0.01}}]"
    training_set = "{epochs: 1, batch_size: 1}"
    part = f"base: {gpt2_folder}\nsamples: samples.jsonl\ntraining_set: {training_set}\narms: {arms}\n"
    (folder / "spec.yaml").write_text(part)
    einfluence.measure(folder / "spec.yaml", folder / "einfluence-store", report=False)
    for part in [*(folder / "einfluence-store" / "influence").rglob("*.parquet")]:  # as they lie just after a merge
        shutil.copy(part, part.with_name(f"{'0' * 20}.parquet"))
    return folder


def test_the_page_shows_three_lines_for_each_tool() -> None:
    assert {name: len(block.splitlines()) for name, block in LINES.items()} == dict.fromkeys(TOOLS, 3)


@pytest.mark.parametrize("tool", TOOLS)
def test_other_tools_read_the_cells_that_einfluence_does(
    folder: Path, tool: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip(tool, reason=f"{tool} is not installed: pip install 'einfluence[dev]'")
    monkeypatch.chdir(folder)
    found: dict[str, Any] = {}
    exec(LINES[tool], found)
    assert "finetune" in capsys.readouterr().out
    ours = Store("einfluence-store").influence().df()
    theirs = getattr(found["cells"], TOOLS[tool])()
    keys = ["base", "estimator", "recipe", "probe_id", "query_id", "seed"]
    assert set(ours["estimator"]) == {"finetune", "leave_one_out"} and len(ours) == len(theirs) == 8
    ours, theirs = (table.sort_values(keys).reset_index(drop=True) for table in (ours, theirs))
    for column in [*keys, "influence"]:
        assert ours[column].tolist() == theirs[column].tolist(), column


def test_rows_there_twice_and_trainings_are_why_the_lines_filter(folder: Path) -> None:
    import duckdb

    files = duckdb.read_parquet(str(folder / "einfluence-store" / "influence" / "*" / "*" / "*.parquet"))
    assert files.filter("estimator = 'training'").count("*").fetchall()[0][0] > 0
    plain = files.filter("estimator <> 'training'")
    assert plain.count("*").fetchall()[0][0] > plain.distinct().count("*").fetchall()[0][0]
