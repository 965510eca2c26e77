"""Shards that fail are tried again, isolated and recorded, and the others are kept, wherever they are computed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import einfluence
from einfluence.compute import Done, compute
from einfluence.errors import InputError
from einfluence.execute import Watch, execute
from einfluence.plan import Plan, plan
from einfluence.prepare import prepare
from einfluence.runners import Processes, Threads
from einfluence.session import Session
from einfluence.shards import Job
from einfluence.spec import load_spec
from einfluence.store.store import Store
from tests.flows.test_runners import ROOT, write_spec
from tests.forked import FORKED, killed


class Lost(Exception):
    """A worker is gone."""


class Backwards:
    """A runner from outside the package: computes in this process, the last shard first; some shards are lost."""

    slots = 3

    def __init__(self, ends: Callable[[Job], Exception | None] = lambda job: None) -> None:
        self.session, self.ends = Session("cpu"), ends
        self.given: list[tuple[Job, Future[Done]]] = []

    def __enter__(self) -> Backwards:
        return self

    def __exit__(self, *error: Any) -> None:
        self.given.clear()

    def died(self, error: Exception) -> bool:
        return isinstance(error, Lost)

    def submit(self, job: Job) -> Backwards.Waiting:
        self.given.append((job, Future[Done]()))
        return self.Waiting(self, self.given[-1][1])

    class Waiting:
        def __init__(self, owner: Backwards, future: Future[Done]) -> None:
            self.owner, self.future = owner, future

        def result(self) -> Done:
            while not self.future.done():
                job, future = self.owner.given.pop()
                error = self.owner.ends(job)
                future.set_exception(error) if error else future.set_result(compute(job, self.owner.session))
            return self.future.result()


@pytest.fixture
def spec(tmp_path: Path, gpt2_folder: Path) -> Path:
    """Six probes in three blocks."""
    return write_spec(tmp_path, gpt2_folder)


@pytest.fixture
def study(spec: Path) -> tuple[Plan, Store]:
    """What is to be done of it, and where it goes."""
    store, loaded, session = Store(spec.parent / "store"), load_spec(spec), Session()
    todo = plan(loaded, [prepare(loaded, part, store, session) for part in loaded.parts], store)
    assert len(todo.jobs) == 3
    return todo, store


def table(store: Store) -> list[tuple[Any, ...]]:
    with store.connect() as connection:
        return connection.execute("from influence order by probe_id, query_id").fetchall()


def failed(store: Store) -> dict[str, str]:
    with store.connect() as connection:
        return dict(connection.execute("select probe_id, reason from outcomes where status = 'failed'").fetchall())


def test_a_runner_from_outside_fills_the_same_table(spec: Path, tmp_path: Path) -> None:
    result = einfluence.measure(spec, tmp_path / "outside", runner=Backwards(), report=False)
    assert (result.computed, result.failed) == (36, 0)
    einfluence.measure(spec, tmp_path / "inline", report=False)
    assert table(Store(tmp_path / "outside")) == table(Store(tmp_path / "inline"))


def test_blocks_whose_worker_died_are_tried_again_alone(study: tuple[Plan, Store]) -> None:
    todo, store = study
    lines: list[str] = []
    done = execute(todo, Backwards(lambda _: Lost("gone")), Backwards(), Watch(again=lines.append))
    assert sum(item.cells for item in done) == 36 == len(table(store))
    assert len(lines) == 6 and all("its worker died (Lost: gone)" in line for line in lines)


def test_a_block_that_kills_every_worker_is_recorded_and_the_others_finish(study: tuple[Plan, Store]) -> None:
    todo, store = study
    bad = todo.jobs[1].probe_ids

    def deadly(job: Job) -> Exception | None:
        return Lost("gone") if job.probe_ids[0] in bad else None

    lines: list[str] = []
    done = execute(todo, Backwards(deadly), Backwards(deadly), Watch(again=lambda _: None, failed=lines.append))
    told = {probe: reason for item in done for probe, reason in item.failed.items()}
    assert set(told) == set(bad) and all("its worker died" in reason for reason in told.values())
    assert failed(store) == told and len(table(store)) == 24 and len(lines) == 1


def test_an_error_that_comes_once_costs_nothing(study: tuple[Plan, Store]) -> None:
    todo, store = study
    errors = [RuntimeError("out of memory")]
    quiet = Watch(again=lambda _: None)
    done = execute(todo, Backwards(lambda _: errors.pop() if errors else None), Backwards(), quiet)
    assert sum(item.cells for item in done) == 36 == len(table(store)) and not failed(store)


def test_an_error_that_stays_is_recorded_for_its_block_and_the_others_finish(study: tuple[Plan, Store]) -> None:
    todo, store = study
    bad, tried = todo.jobs[0].probe_ids, list[str]()

    def broken(job: Job) -> Exception | None:
        tried.extend(job.probe_ids)
        return RuntimeError("no such kernel\nin detail") if job.probe_ids[0] in bad else None

    nobody = Backwards(lambda _: pytest.fail("only what killed its worker is isolated"))
    done = execute(todo, Backwards(broken), nobody, Watch(again=lambda _: None, failed=lambda _: None))
    assert sum(item.cells for item in done) == 24
    assert failed(store) == dict.fromkeys(bad, "RuntimeError: no such kernel")
    assert [tried.count(probe) for job in todo.jobs for probe in job.probe_ids] == [2, 2, 1, 1, 1, 1]


def test_a_store_that_cannot_be_written_stops_the_run(study: tuple[Plan, Store]) -> None:
    full = InputError("store", "No space left on device", "a store that can be written")
    with pytest.raises(InputError, match="No space left"):
        execute(study[0], Backwards(lambda _: full), Backwards())


def test_measure_keeps_the_others_when_a_probe_raises(
    spec: Path, study: tuple[Plan, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    todo, store = study
    bad = set(todo.jobs[1].probe_ids)

    def breaking(job: Job, session: Session, on_probe: Callable[[], None]) -> Done:
        if bad & set(job.probe_ids):
            raise RuntimeError("a kernel that fails on one text")
        return compute(job, session, on_probe)

    monkeypatch.setattr("einfluence.runners.local.compute", breaking)
    first = einfluence.measure(spec, store)
    assert (first.computed, first.failed) == (24, 2) and len(table(store)) == 24
    assert first.reasons == dict.fromkeys(bad, "RuntimeError: a kernel that fails on one text") == failed(store)
    assert "a kernel that fails on one text" in Path(first.report or "").read_text()
    monkeypatch.undo()
    again = einfluence.measure(spec, store, report=False)
    assert (again.present, again.computed, again.failed) == (24, 12, 0)


class Killing(Processes):
    """Real processes, one of which is killed whenever it gets the blocks of some probes."""

    killers: tuple[str, ...] = ()

    def submit(self, job: Job) -> Future[Done]:
        return self._pool.submit(killed, job, self.killers)


def test_measure_keeps_the_others_when_a_probe_kills_its_worker(
    spec: Path, study: tuple[Plan, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    todo, store = study
    monkeypatch.setattr(Killing, "killers", todo.jobs[2].probe_ids)
    monkeypatch.setattr("einfluence.run.Processes", Killing)
    monkeypatch.setattr("einfluence.runners.local.multiprocessing.get_context", lambda _: FORKED)
    result = einfluence.measure(spec, store, runner=Killing(2), report=False)
    assert (result.computed, result.failed) == (24, 2) and len(table(store)) == 24
    assert result.reasons == failed(store) and set(result.reasons) == set(todo.jobs[2].probe_ids)
    assert all(reason.startswith("its worker died (BrokenProcessPool") for reason in result.reasons.values())


@pytest.mark.parametrize(("runner", "workers"), [("processes", 2), ("dask", 1)])  # each loads torch anew
def test_measure_in_workers_fills_the_same_table(spec: Path, tmp_path: Path, runner: str, workers: int) -> None:
    there = einfluence.measure(spec, tmp_path / "there", runner=runner, workers=workers, report=False)
    assert there.computed == 36
    einfluence.measure(spec, tmp_path / "here", report=False)
    found, own = table(Store(tmp_path / "there")), table(Store(tmp_path / "here"))
    assert [row[:6] for row in found] == [row[:6] for row in own]
    assert all(abs(a[7] - b[7]) < 1e-4 for a, b in zip(found, own, strict=True))


def test_processes_that_cannot_start_are_no_probes_fault(spec: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"import einfluence\neinfluence.measure({str(spec)!r}, 'store', runner='processes')\n")
    ended = subprocess.run(
        [sys.executable, script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert "processes that end when they start" in ended.stderr and "__main__" in ended.stderr
    assert not failed(Store(tmp_path / "store"))


def test_shards_in_threads_do_not_disturb_each_other(spec: Path, tmp_path: Path) -> None:
    for name, runner in (("one", Threads(Session(), 1)), ("three", Threads(Session(), 3))):
        assert einfluence.measure(spec, tmp_path / name, runner=runner, report=False).computed == 36
    assert table(Store(tmp_path / "one")) == table(Store(tmp_path / "three"))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("magic", "runner: found 'magic'; expected one of inline, threads, processes, dask, ray"),
        ("inline://here", "runner: found 'inline://here'"),
    ],
)
def test_a_runner_that_is_not_known_is_refused(spec: Path, name: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        einfluence.measure(spec, spec.parent / "store", runner=name)
    assert not (spec.parent / "store").exists()


def test_one_session_serves_several_threads(spec: Path, study: tuple[Plan, Store]) -> None:
    todo, store = study
    session = Session()
    with ThreadPoolExecutor(3) as pool:
        assert sum(done.cells for done in pool.map(partial(compute, session=session), todo.jobs)) == 36
    assert len({id(session.base(job.base, False)) for job in todo.jobs}) == 1 and len(table(store)) == 36
