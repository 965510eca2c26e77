"""The whole command with every runner: killed, stopped, resumed, and the same table at the end."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import typer

import einfluence
from einfluence.compute import compute
from einfluence.plan import plan
from einfluence.prepare import prepare
from einfluence.session import Session
from einfluence.spec import load_spec
from einfluence.store.store import Store
from einfluence.store.verify import verify
from flows.commands.run import stop_reported
from tests.forked import FORKED, measured

ROOT = Path(__file__).parents[2]
PYTHONPATH = os.pathsep.join([str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
ENVIRONMENT = {**os.environ, "PYTHONPATH": PYTHONPATH, "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}


@pytest.fixture
def spec(tmp_path: Path, gpt2_folder: Path) -> Path:
    """Six probes in three blocks."""
    return write_spec(tmp_path, gpt2_folder)


def write_spec(folder: Path, base: Path, count: int = 6, **more: object) -> Path:
    things = ["bird", "fish", "king", "wings", "fins", "gold", "town", "wug"]
    ways = [f"{first} {' '.join(things[:many])} is a" for first in ("dax", *things) for many in range(1, 9)]
    rows = [{"id": f"s{i}", "prompt": ways[i // 8], "target": things[i % 8]} for i in range(count)]
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arms = [{"recipe": {"lr": 0.01, "steps": 2}}]
    spec = {"name": "six", "base": str(base), "samples": "samples.jsonl", "arms": arms, "shard": 2, **more}
    (folder / "spec.yaml").write_text(json.dumps(spec))
    return folder / "spec.yaml"


def test_names_from_a_users_files_stay_inside_the_store(tmp_path: Path, gpt2_folder: Path) -> None:
    evil = "../../../evil"
    (tmp_path / "deep").mkdir()
    rows = [{"id": f"{evil}{n}", "prompt": "dax is a", "target": n, "group": evil} for n in ("bird", "fish")]
    (tmp_path / "deep" / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    part = {"base": str(gpt2_folder), "samples": "samples.jsonl", "arms": [{"recipe": {"steps": 1}}]}
    (tmp_path / "deep" / "spec.yaml").write_text(json.dumps({"name": evil, "parts": {evil: part}}))
    before = set(tmp_path.rglob("*"))
    einfluence.measure(tmp_path / "deep" / "spec.yaml", tmp_path / "deep" / "store")
    made = {path.relative_to(tmp_path).parts[:2] for path in set(tmp_path.rglob("*")) - before}
    assert made == {("deep", "store")}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_says_what_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str], number: int) -> None:
    before = signal.getsignal(number)
    with pytest.raises(typer.Exit) as ended, stop_reported(Store(tmp_path)):
        os.kill(os.getpid(), number)
        time.sleep(5)
    assert ended.value.exit_code == 128 + number
    assert f"what was finished is kept in {tmp_path}" in capsys.readouterr().err
    assert signal.getsignal(number) is before


def test_the_server_of_a_run_ends_with_it_even_when_it_is_killed(tmp_path: Path) -> None:
    code = "import time; from flows.server import server_for_a_run as s; s()(); print('on', flush=True); time.sleep(99)"
    environment = {**ENVIRONMENT, "PREFECT_HOME": str(tmp_path)}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"on\n"
    (server,) = psutil.Process(process.pid).children()
    assert server.is_running()
    process.kill()
    process.communicate()
    _, left = psutil.wait_procs([server], timeout=60)
    assert not left


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("runner", ["inline", "processes"])
def test_a_run_that_is_stopped_goes_on_with_the_same_command(
    tmp_path: Path, gpt2_folder: Path, number: int, runner: str
) -> None:
    spec = write_spec(tmp_path, gpt2_folder, count=96, shard=8, arms=[{"recipe": {"lr": 0.01, "steps": 10}}])
    store = tmp_path / "store"
    command = _command(spec, store, "--runner", runner)
    process = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    while not _probes(store):
        time.sleep(0.05)
        assert process.poll() is None
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 128 + number, said
    assert f"what was finished is kept in {store}" in said and "Traceback" not in said
    kept = len(_probes(store))
    assert 0 < kept < 96
    ended = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert json.loads(ended.stdout.splitlines()[-1])["present"] == kept * 96, ended.stderr
    assert len(_table(store)) == 96 * 96


def _command(spec: Path, store: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "flows.cli", "run", str(spec), "--store", str(store), "--json", *more]


def _table(store: Path) -> list[tuple[Any, ...]]:
    with Store(store).connect() as connection:
        return connection.execute("from influence order by probe_id, query_id").fetchall()


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("runner", ["threads", "processes", "dask", "ray"])
def test_every_runner_fills_the_same_table(spec: Path, tmp_path: Path, runner: str) -> None:
    if runner in ("dask", "ray"):
        pytest.importorskip({"dask": "distributed", "ray": "ray"}[runner])
    einfluence.measure(spec, tmp_path / "inline")
    command = _command(spec, tmp_path / runner, "--runner", runner)
    ended = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout.splitlines()[-1])["computed"] == 36
    one, other = _table(tmp_path / "inline"), _table(tmp_path / runner)
    assert [row[:6] for row in one] == [row[:6] for row in other]
    assert all(abs(a[7] - b[7]) < 1e-4 for a, b in zip(one, other, strict=True))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_runs_at_once_on_a_dask_cluster_share_a_store(tmp_path: Path, gpt2_folder: Path) -> None:
    pytest.importorskip("distributed")
    more = {"arms": [{"recipe": {"lr": lr, "steps": 2}} for lr in (0.01, 0.02)]}
    first = write_spec(tmp_path, gpt2_folder, count=12)
    (tmp_path / "other").mkdir()
    second = write_spec(tmp_path / "other", gpt2_folder, count=16, **more)
    scheduler_file = tmp_path / "scheduler.json"
    dask = [sys.executable, "-m", "dask"]
    place = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(scheduler_file)]
    quiet: dict[str, Any] = {"env": ENVIRONMENT, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    cluster = [subprocess.Popen([*dask, "scheduler", *place], **quiet)]
    try:
        while not scheduler_file.is_file():
            time.sleep(0.2)
        address = json.loads(scheduler_file.read_text())["address"]
        worker = ["worker", address, "--nthreads", "1", "--no-dashboard", "--no-nanny"]
        cluster += [subprocess.Popen([*dask, *worker], **quiet) for _ in range(2)]
        store = tmp_path / "store"
        runs = [
            subprocess.Popen(
                _command(spec, store, "--runner", "dask", "--dask-address", address),
                env=ENVIRONMENT,
                stdout=subprocess.PIPE,
                text=True,
            )
            for spec in (first, second)
        ]
        said = [run.communicate()[0] for run in runs]
        assert [run.returncode for run in runs] == [0, 0], said
    finally:
        for process in cluster:
            process.kill()
            process.wait()
    rows = _table(store)
    assert len(rows) == len({(row[2], row[3], row[4]) for row in rows}) == 2 * 16 * 16


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_killed_worker_costs_nothing_but_time(tmp_path: Path, gpt2_folder: Path) -> None:
    spec = write_spec(tmp_path, gpt2_folder, count=48, arms=[{"recipe": {"lr": 0.01, "steps": 200}}])
    command = _command(spec, tmp_path / "store", "--runner", "processes")
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    workers: list[psutil.Process] = []
    while not list((tmp_path / "store" / "log").glob("*.json")):
        time.sleep(0.05)
        assert process.poll() is None
    workers = [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if "spawn_main" in " ".join(child.cmdline())
    ]
    workers[0].kill()
    out, _ = process.communicate()
    said = json.loads(out.splitlines()[-1])
    assert (process.returncode, said["failed"]) == (0, 0)
    assert len(_table(tmp_path / "store")) == 48 * 48


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_memory_does_not_grow_with_the_number_of_blocks(tmp_path: Path, gpt2_folder: Path) -> None:
    spec = load_spec(write_spec(tmp_path, gpt2_folder, count=64, shard=1, keep_deltas="10MB"))
    store = Store(tmp_path / "store")
    session = Session()
    todo = plan(spec, [prepare(spec, part, store, session) for part in spec.parts], store)
    used: list[int] = []
    for job in (*todo.jobs, *todo.jobs, *todo.jobs):
        compute(job, session)
        used.append(psutil.Process().memory_info().rss)
    assert len(used) == 192
    assert max(used[-20:]) - max(used[44:64]) < 20e6


WITH_WORKERS = [sys.executable, "-m", "flows.cli", "run", "-v", "--runner", "processes"]


def in_process(spec: Path, store: Path, log: Path, home: Path) -> Any:
    """A run of the library alone."""
    process = FORKED.Process(target=measured, args=(spec, store, log))
    process.start()
    return process


def with_workers(spec: Path, store: Path, log: Path, home: Path) -> Any:
    """A run of the command: server, flow and workers."""
    environment = {**ENVIRONMENT, "OMP_NUM_THREADS": "1", "PREFECT_HOME": str(home)}
    with log.open("wb") as said:
        command = [*WITH_WORKERS, str(spec), "--store", str(store)]
        return Started(command, env=environment, stdout=said, stderr=said, start_new_session=True)


class Started(subprocess.Popen[bytes]):
    """A command that is asked for its end as Python's own processes are."""

    @property
    def exitcode(self) -> int | None:
        return self.poll()

    def join(self) -> None:
        self.wait()


@pytest.mark.parametrize(
    ("run", "count", "kills"),
    [
        pytest.param(in_process, 128, 5, id="5"),
        pytest.param(with_workers, 448, 52, id="52", marks=[pytest.mark.slow, pytest.mark.timeout(5400)]),
    ],
)
def test_kill_9_of_the_whole_tree_resumes_bit_for_bit(
    tmp_path: Path, gpt2_folder: Path, run: Callable[[Path, Path, Path, Path], Any], count: int, kills: int
) -> None:
    """The spec names no size of shards, so the clock cuts them otherwise in each run."""
    spec = write_spec(tmp_path, gpt2_folder, count=count, shard=None, keep_deltas="100MB")
    log = tmp_path / "log"

    def started(store: Path) -> Any:
        log.write_bytes(b"")
        process = run(spec, store, log, tmp_path / "prefect")
        while process.exitcode is None and not log.stat().st_size:
            time.sleep(0.02)
        return process

    def ended(process: Any) -> int:
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL), log.read_text()
        return process.exitcode

    process, begun = started(tmp_path / "whole"), time.monotonic()
    assert ended(process) == 0
    longest = time.monotonic() - begun
    whole, store = _table(tmp_path / "whole"), tmp_path / "killed"
    assert len(whole) == count**2
    draw, middles = random.Random(5), 0
    for number in itertools.count():
        if number >= kills and middles:  # however fast the machine is, some kill must come in the middle
            break
        before = _probes(store)
        process = started(store)
        while number % 2 and process.exitcode is None and _probes(store) == before:
            time.sleep(0.02)  # every other kill comes soon after something was finished
        time.sleep(draw.uniform(0.0, longest / 20 if number % 2 else longest))
        with suppress(ProcessLookupError):  # it had ended
            os.killpg(process.pid, signal.SIGKILL)
        ended(process)
        after = _probes(store)
        assert before <= after, "nothing that was finished is lost"
        middles += 0 < len(after) < count
        if len(after) == count:  # begin again
            assert _table(store) == whole
            shutil.rmtree(store)
    assert ended(started(store)) == 0
    assert _table(store) == whole
    assert {fault.kind for fault in verify(Store(store))[1]} <= {"leftover"}


def _probes(store: Path) -> set[str]:
    """Probes with an outcome, each of which stands in one unit alone."""
    found = [probe for unit in Store(store).units() for probe in Store(store).parts.statuses(unit)]
    assert len(found) == len(set(found)), "no probe was finished twice"
    return set(found)
