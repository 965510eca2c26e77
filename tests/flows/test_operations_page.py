"""docs/operations.md names tests, options and folders that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import cast

import click
import typer

from flows.cli import app

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def test_every_test_that_a_promise_names_exists() -> None:
    named = set(re.findall(r"`(tests/[\w/]+\.py)", PAGE))
    assert len(named) >= 6
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_the_page_names_every_option_of_its_commands_and_no_other() -> None:
    commands = cast("click.Group", typer.main.get_command(app)).commands
    ours = {name: {option for one in command.params for option in one.opts} for name, command in commands.items()}
    lines = [line for line in PAGE.splitlines() if not line.startswith(("prefect ", "docker ", "dask "))]
    named = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", "\n".join(lines)))
    wanted = {option for name in ("run", "serve", "verify") for option in ours[name] if option.startswith("--")}
    assert wanted - named == set(), "options that the page does not name"
    of_all = {"--install-completion", "--show-completion"}
    assert named - of_all - set.union(*ours.values()) == set(), "options that no command has"
