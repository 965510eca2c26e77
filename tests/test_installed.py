"""Objectives, estimators and runners of an installed package are found by every process of a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import einfluence
from einfluence.errors import InputError
from einfluence.installed import installed
from einfluence.runners import Processes, Runner, runners
from tests.objectives.test_from_outside import spec  # noqa: F401  # a study of an objective that ships nowhere

ROOT = Path(__file__).parents[1]
ELSEWHERE = Runner("elsewhere", lambda asked: Processes(1, asked.device))  # whose workers find the same by themselves
ENTRIES = """
[einfluence.objectives]
topic = tests.objectives.test_from_outside:Topic
[einfluence.estimators]
centred_dot = tests.test_arms:CENTRED_DOT
[einfluence.runners]
elsewhere = tests.test_installed:ELSEWHERE
"""
MEASURE = "import sys, einfluence; einfluence.measure(sys.argv[1], sys.argv[2], runner='elsewhere', report=False)"


def install(folder: Path, entries: str) -> Path:
    """What pip leaves of a package: its name, and what it adds to others."""
    about = folder / "mine-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(entries)
    return folder


def test_a_package_adds_an_objective_an_estimator_and_a_runner(spec: Path, tmp_path: Path) -> None:  # noqa: F811
    store = tmp_path / "store"
    arms = [{"recipe": {"adapter": "full", "lr": 0.1, "steps": 1}}, {"estimator": "centred_dot"}]
    spec.write_text(json.dumps({"base": "base", "samples": "documents.jsonl", "arms": arms}))
    path = os.pathsep.join([str(install(tmp_path, ENTRIES)), str(ROOT)])
    command = [sys.executable, "-c", MEASURE, str(spec), str(store)]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, check=True, timeout=200)
    with einfluence.Store(store).connect() as connection:
        cells = connection.sql("select estimator, count(influence) from influence group by all order by all").fetchall()
    assert cells == [("centred_dot", 9), ("finetune", 9)]


def test_a_package_that_cannot_be_imported_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(install(tmp_path, "[einfluence.runners]\nslurm = mine.slurm:RUNNER\n"))
    with pytest.raises(InputError, match=r"mine, entry point 'slurm' of einfluence.runners: found ModuleNotFoundError"):
        installed("einfluence.runners")


def test_a_runner_of_a_name_that_is_taken_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = f"[einfluence.runners]\nmine = {__name__}:IMPOSTOR\n"
    monkeypatch.syspath_prepend(install(tmp_path, entries))
    with pytest.raises(ValueError, match="another runner is called 'inline'"):
        runners.__wrapped__()


IMPOSTOR = Runner("inline", lambda asked: Processes(1))
