"""Whatever a message tells a user to do can be done: commands, flags, keys, variables, targets and pages exist."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import prefect.settings
import pytest
import typer.main
from pydantic import BaseModel

from einfluence.curate.facts.schema import FactsFile
from einfluence.spec import Spec
from flows import cli

ROOT = Path(__file__).parents[1]
FILES = sorted(path for room in ("einfluence", "flows", "tasks") for path in (ROOT / room).rglob("*.py"))
SOURCE = "\n".join(path.read_text(encoding="utf-8") for path in FILES)
TOLD = ("InputError", "warn", "Option", "Argument", "echo", "say", "unwritable", "unreadable", "damaged")
NAMES = ("fix", "fixes", "expected", "found", "reason", "hint", "more", "advice", "text", "message")
GROUP: Any = typer.main.get_command(cli.app)
FLAGS = {flag for option in GROUP.params for flag in option.opts}
FLAGS |= {flag for command in GROUP.commands.values() for option in command.params for flag in option.opts}
FLAGS |= {flag for command in GROUP.commands.values() for option in command.params for flag in option.secondary_opts}
ROWS = {"id", "prompt", "target", "group", "image", "label", "samples", "kind", "probe", "query", "level", "distance"}
OF_OTHERS = {"TMPDIR", "HF_HOME", "HF_TOKEN", "HF_HUB_OFFLINE", "CUDA_VISIBLE_DEVICES", "XDG_CACHE_HOME"}


def _text(node: ast.AST) -> str:
    """A literal's text; what an f-string fills in is a blank."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) or "…" for part in node.values)
    if isinstance(node, ast.BinOp):
        return _text(node.left) + _text(node.right)
    return ""


def _texts(node: ast.AST) -> Iterator[str]:
    """The literals under a node, each f-string whole."""
    text = _text(node)
    if text:
        yield text
        return
    for child in ast.iter_child_nodes(node):
        yield from _texts(child)


def _messages() -> Iterator[tuple[str, str]]:
    """(place, text) of everything that users are told."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            told: list[ast.AST] = []
            if isinstance(node, ast.Call):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                told = [*node.args, *node.keywords] if name.endswith("Error") or name in TOLD else []
            elif isinstance(node, ast.Assign) and any(
                isinstance(name, ast.Name) and name.id in NAMES for target in node.targets for name in ast.walk(target)
            ):
                told = [node.value]
            elif isinstance(node, ast.FunctionDef) and path.parts[-2] == "flows":
                told = [ast.Constant(ast.get_docstring(node) or "")]
            for each in told:
                for text in _texts(each):
                    yield f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}", text


@cache
def messages() -> list[tuple[str, str]]:
    """Each once: finding them takes seconds, which nobody waits for who runs other tests."""
    return sorted(set(_messages()))


def _keys(model: type[BaseModel]) -> set[str]:
    schema = model.model_json_schema()
    parts = [schema, *schema.get("$defs", {}).values()]
    return {name for part in parts for name in part.get("properties", {})}


KEYS = _keys(Spec) | _keys(FactsFile) | ROWS
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
TARGETS = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def _unfollowable(text: str) -> Iterator[str]:
    """What a message names and is nowhere."""
    for command in re.findall(r"`einfluence (\w+)", text):
        if command not in GROUP.commands:
            yield f"einfluence {command}"
    for command, flag in re.findall(r"`einfluence (\w+)[^`]*? (--[a-z-]+)", text):
        params = GROUP.commands[command].params if command in GROUP.commands else []
        if flag not in {name for option in params for name in option.opts}:
            yield f"einfluence {command} {flag}"
    for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]+", text):
        if flag not in FLAGS:
            yield flag
    for extra in re.findall(r"einfluence\[([\w-]+)\]", text):
        if extra not in EXTRAS:
            yield f"einfluence[{extra}]"
    for target in re.findall(r"`make (\w+)", text):
        if target not in TARGETS:
            yield f"make {target}"
    for page in re.findall(r"docs/[\w./-]*\w", text):
        if not (ROOT / page).exists():
            yield page
    for key in re.findall(r"`(\w+):(?!/)", text) + re.findall(r"\btake (\w+): ", text):
        if key not in KEYS:
            yield f"`{key}:`"
    for variable in re.findall(r"\b(?:[A-Z][A-Z0-9]*_)+[A-Z0-9]+\b", text):
        if variable.startswith("PREFECT_"):
            known = hasattr(prefect.settings, variable)
        else:
            known = variable in OF_OTHERS or SOURCE.count(f'environ.get("{variable}') > 0
        if not known:
            yield variable


def test_messages_are_found() -> None:
    assert len(messages()) > 300
    assert any("`einfluence verify --repair`" in text for _, text in messages())


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("take engine_of: serial", ["`engine_of:`"]),
        ("`engine_of: serial` does it", ["`engine_of:`"]),
        ("`einfluence mend --hard`", ["einfluence mend", "einfluence mend --hard", "--hard"]),
        ("`einfluence sql --repair`", ["einfluence sql --repair"]),
        ("`einfluence verify --repair` mends it; `seeds: [1]`; EINFLUENCE_CACHE; `make docs`; docs/report.md", []),
        (
            "pip install 'einfluence[gpu]'; `make coffee`; docs/none.md",
            ["einfluence[gpu]", "make coffee", "docs/none.md"],
        ),
        ("set EINFLUENCE_SPEED or PREFECT_SPEED", ["EINFLUENCE_SPEED", "PREFECT_SPEED"]),
    ],
)
def test_what_cannot_be_followed_is_noticed(text: str, missing: list[str]) -> None:
    assert sorted(_unfollowable(text)) == sorted(missing)


def test_every_message_can_be_followed() -> None:
    wrong = {f"{place}: {what}: {text}" for place, text in messages() for what in _unfollowable(text)}
    assert wrong == set()
