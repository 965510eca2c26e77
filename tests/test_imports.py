"""Imports run in one direction, file by file: also those inside functions and those that only type checkers see."""

from __future__ import annotations

import ast
import graphlib
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("einfluence", "tasks", "flows", "pretraining")


def files_of(root: Path, packages: tuple[str, ...] = PACKAGES) -> dict[str, Path]:
    """The files by the names that they are imported by."""
    found: dict[str, Path] = {}
    for package in packages:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(module: str, path: Path, known: set[str]) -> set[str]:
    """The files that a file names in an import statement, wherever it stands."""
    inside = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = inside[: len(inside) + 1 - node.level] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            within = {f"{source}.{alias.name}" for alias in node.names}
            names |= {name if name in known else source for name in within}
    return names & known - {module}


def circle(root: Path, packages: tuple[str, ...] = PACKAGES) -> list[str]:
    """A circle of imports, from a file back to itself; empty where there is none."""
    files = files_of(root, packages)
    graph = {module: imported(module, path, set(files)) for module, path in files.items()}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1][::-1]
    return []


def test_no_file_imports_itself_by_way_of_others() -> None:
    found = circle(ROOT)
    assert found == [], " → ".join(found)


@pytest.mark.parametrize(
    "line",
    [
        "import house.b",
        "from house.b import x",
        "from house import b",
        "from . import b",
        "from .b import x",
        "def later():\n    from house.b import x",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from house.b import x",
    ],
)
def test_a_circle_is_found_however_it_is_hidden(tmp_path: Path, line: str) -> None:
    (tmp_path / "house").mkdir()
    (tmp_path / "house" / "__init__.py").touch()
    (tmp_path / "house" / "a.py").write_text(line)
    (tmp_path / "house" / "b.py").write_text("import json\nfrom house.c import y")
    (tmp_path / "house" / "c.py").write_text("y = 1")
    assert circle(tmp_path, ("house",)) == []
    (tmp_path / "house" / "c.py").write_text("from house import a")
    found = circle(tmp_path, ("house",))
    assert found[0] == found[-1] and set(found) == {"house.a", "house.b", "house.c"}
    assert found in ([f"house.{name}" for name in order] for order in ("abca", "bcab", "cabc")), "each imports the next"


def test_the_wheel_holds_the_library_its_tasks_and_flows_and_nothing_that_trains_what_it_ships() -> None:
    written = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    shipped = written["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert shipped == ["einfluence", "tasks", "flows"]
    modules = files_of(ROOT)
    uses = [
        name
        for name, path in modules.items()
        if not name.startswith("pretraining")
        for module in imported(name, path, set(modules))
        if module.startswith("pretraining")
    ]
    assert uses == [], "the installed package would miss what stands beside it"
