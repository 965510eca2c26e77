"""What is shipped: the wheel and the source distribution hold all that they need; citations name the version."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import yaml
from hatchling.builders.plugin.interface import BuilderInterface
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[1]
CODE = ("einfluence", "tasks", "flows")


def files(folder: Path) -> set[str]:
    """Everything in a folder but what Python leaves there, by its path from the root."""
    found = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(ROOT)) for path in found if path.name != ".DS_Store"}


def packed(builder: type[BuilderInterface]) -> set[str]:
    return {file.distribution_path for file in builder(str(ROOT)).recurse_included_files()}


@pytest.fixture(scope="module")
def wheel() -> set[str]:
    return packed(WheelBuilder)


def test_the_wheel_holds_all_code_sql_templates_and_data_and_nothing_else(wheel: set[str]) -> None:
    code = set.union(*(files(ROOT / package) for package in CODE))
    data = {f"einfluence/_{path}" for path in files(ROOT / "data")}
    assert wheel == code | data


@pytest.mark.parametrize(
    "ends", [".sql", ".html.j2", ".css", ".js", ".yaml", ".safetensors", ".py", "py.typed", ".jsonl"]
)
def test_the_wheel_holds_files_of_every_kind_that_is_read_at_run_time(wheel: set[str], ends: str) -> None:
    assert any(name.endswith(ends) for name in wheel)


def test_the_source_distribution_builds_the_same_wheel_and_holds_no_tests(wheel: set[str]) -> None:
    source = packed(SdistBuilder)
    assert {name.replace("einfluence/_data/", "data/") for name in wheel} <= source
    assert [name for name in source if name.startswith(("tests/", "benchmarks/", "pretraining/"))] == []


def test_citations_name_the_version_that_is_released() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])


def test_a_container_is_built_from_what_the_wheel_is_built_from() -> None:
    docker = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    sent = {
        line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    copied = {
        name
        for line in docker.splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for name in line.split()[1:-1]
    }
    assert copied == sent >= {*CODE, "data", "pyproject.toml", "constraints.txt"}
    assert all((ROOT / name).exists() for name in sent)
