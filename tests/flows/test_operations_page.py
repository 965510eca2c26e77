"""docs/operations.md names tests, options and folders that exist."""

from __future__ import annotations

import re
from pathlib import Path

from typer.testing import CliRunner

from flows.cli import app

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def test_every_test_that_a_promise_names_exists() -> None:
    named = set(re.findall(r"`(tests/[\w/]+\.py)", PAGE))
    assert len(named) >= 6
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_every_option_exists() -> None:
    wide = {"COLUMNS": "300", "TERMINAL_WIDTH": "300"}
    said = "".join(CliRunner().invoke(app, [name, "--help"], env=wide).output for name in ("run", "serve", "verify"))
    ours = {"--runner", "--workers", "--dask-address", "--cron", "--watch", "--name", "--port", "--repair", "--store"}
    assert {option for option in ours if option in PAGE} == ours
    assert [option for option in sorted(ours) if option not in said] == []
