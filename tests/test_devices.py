"""Devices: the one that is named, or one GPU for each worker."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner

import einfluence
from einfluence.devices import chosen, devices, free_slot
from einfluence.errors import InputError
from einfluence.session import Session
from flows.commands.options import Workers
from tests.flows.test_runners import ROOT, write_spec

GPUS = ["cpu", "cuda:0", "cuda:1", "cuda:2"]


def test_workers_take_one_gpu_each_and_then_begin_again() -> None:
    for asked in ("auto", "cuda"):
        assert [chosen(asked, GPUS, slot) for slot in range(5)] == ["cuda:0", "cuda:1", "cuda:2", "cuda:0", "cuda:1"]


def test_a_device_that_is_named_is_taken_by_every_worker() -> None:
    assert {chosen("cuda:1", GPUS, slot) for slot in range(4)} == {"cuda:1"}
    assert {chosen("cpu", GPUS, slot) for slot in range(4)} == {"cpu"}
    assert chosen("mps", ["cpu", "mps"], 3) == "mps"


def test_without_a_gpu_of_cuda_auto_is_the_cpu() -> None:
    assert chosen("auto", ["cpu"], 1) == chosen("auto", ["cpu", "mps"], 0) == "cpu"


@pytest.mark.parametrize(
    ("there", "given", "expected"), [(GPUS, "auto", 3), (["cpu", "mps"], "auto", 2), (GPUS, "7", 7)]
)
def test_workers_are_as_many_as_gpus_where_nobody_says(
    there: list[str], given: str, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("einfluence.devices.devices", lambda: there)
    app, found = typer.Typer(), list[int]()

    @app.command()
    def run(workers: Workers = 2) -> None:
        found.append(workers)

    assert CliRunner().invoke(app, ["--workers", given]).exit_code == CliRunner().invoke(app, []).exit_code == 0
    assert found == [expected, 2]
    for wrong in ("0", "-1", "many"):
        ended = CliRunner().invoke(app, ["--workers", wrong])
        assert ended.exit_code == 2 and "from 1 on" in ended.output


@pytest.mark.parametrize("asked", ["cuda:3", "cuda:01", "gpu", "mps", ""])
def test_a_device_that_is_not_there_is_refused_with_what_is(asked: str) -> None:
    with pytest.raises(InputError, match=f"device: found {asked!r}; expected .*: cpu, cuda:0, cuda:1, cuda:2"):
        chosen(asked, GPUS, 0)


def test_measure_refuses_a_device_that_is_not_there_before_it_does_anything(tmp_path: Path, gpt2_folder: Path) -> None:
    missing = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(InputError, match=f"device: found '{missing}'; expected auto or one that is there: cpu"):
        einfluence.measure(write_spec(tmp_path, gpt2_folder), tmp_path / "store", device=missing)
    assert not (tmp_path / "store").exists()


def test_slots_are_the_lowest_free_numbers_and_free_again_when_their_worker_is_killed(tmp_path: Path) -> None:
    code = f"from pathlib import Path; from einfluence.devices import free_slot; s = free_slot(Path({str(tmp_path)!r}))"
    code += "; print(s[0], flush=True); input()"

    def worker() -> tuple[subprocess.Popen[str], int]:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, text=True, **pipes)
        assert process.stdout is not None
        return process, int(process.stdout.readline())

    mine, lock = free_slot(tmp_path)
    first, second = worker(), worker()
    assert [mine, first[1], second[1]] == [0, 1, 2]
    first[0].kill()
    first[0].communicate()
    third = worker()
    lock.close()
    fourth = worker()
    assert [third[1], fourth[1]] == [1, 0]
    for process, _ in (second, third, fourth):
        process.kill()
        process.communicate()


def test_sessions_of_one_process_take_a_gpu_each(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("einfluence.session.devices", lambda: GPUS)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    held = [Session("cuda") for _ in range(3)]
    assert [session.device for session in held] == ["cuda:0", "cuda:1", "cuda:2"]


def test_where_a_cluster_shows_each_worker_its_own_gpu_first_that_one_is_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("einfluence.session.devices", lambda: GPUS)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    held, taken = list[Session](), set[str]()
    for visible in ("0,1,2", "1,2,0", "2,0,1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        held.append(Session("cuda"))
        taken.add(visible.split(",")[int(held[-1].device.removeprefix("cuda:"))])
    assert taken == {"0", "1", "2"}


def test_this_machine_has_a_cpu() -> None:
    assert devices()[0] == "cpu"
