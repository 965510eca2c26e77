"""Ray itself, where it is installed: GPUs that are announced and not there, actors that are killed, bases counted."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

import einfluence
from einfluence.compute import Done
from einfluence.errors import InputError
from einfluence.execute import Watch, execute
from einfluence.plan import Plan
from einfluence.runners import Ray
from einfluence.runners import ray as runner
from einfluence.shards import Job
from einfluence.store.store import Store
from tests.flows.test_runners import write_spec
from tests.test_execute import Backwards, Lost, failed, study, table

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'einfluence[ray]'")

__all__ = ["study"]  # a fixture
JOB = cast("Job", None)


@pytest.fixture
def spec(tmp_path: Path, gpt2_folder: Path) -> Path:
    """Six probes in three blocks."""
    return write_spec(tmp_path, gpt2_folder)


@pytest.fixture(scope="module")
def started() -> Iterator[None]:
    """Ray on two cores, and on two GPUs by its own account."""
    sizes = {"num_cpus": 2, "num_gpus": 2, "object_store_memory": runner.OBJECTS}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in runner.QUIET.items():
            patch.setenv(name, value)
        ray.init(**sizes, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()


@pytest.fixture
def address(started: None, monkeypatch: pytest.MonkeyPatch) -> str:
    """As of a cluster that runs: it is neither started nor ended by a runner."""
    monkeypatch.setattr(Ray, "reach", staticmethod(lambda address: None))
    monkeypatch.setattr(ray, "init", lambda address: None)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    return "host:10001"


def test_ray_that_was_started_for_a_run_ends_with_it(spec: Path, tmp_path: Path) -> None:
    found = einfluence.measure(spec, tmp_path / "store", runner="ray", workers=1, report=False)
    assert (found.computed, found.failed) == (36, 0) and not ray.is_initialized()


def counting(told: Path) -> type[runner.Worker]:
    """Actors that write down when they load a base and compute a shard, and which GPU they have."""

    class Counting(runner.Worker):
        def __init__(self) -> None:
            from einfluence.bases import load

            load_base = load.load_base

            def counted(*given: object, **more: object) -> object:
                self.say("loaded")
                return load_base(*given, **more)  # pyright: ignore[reportArgumentType, reportCallIssue]

            load.load_base = counted
            self.say("began")

        def say(self, what: str) -> None:
            with told.open("a") as file:
                file.write(f"{what} {os.environ['CUDA_VISIBLE_DEVICES']} {os.getpid()}\n")

        def compute(self, job: Job, device: str, threads: int) -> Done:
            while told.read_text().count("began") < 2:  # so that neither computes all before the other is there
                time.sleep(0.02)
            self.say("computed")
            return super().compute(job, device, threads)

    return Counting


def test_each_actor_has_a_gpu_and_loads_the_base_once(
    spec: Path, tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "told"
    monkeypatch.setattr(runner, "Worker", counting(told))
    assert einfluence.measure(spec, tmp_path / "there", runner=f"ray://{address}", report=False).computed == 36
    said = Counter(told.read_text().splitlines())
    loaded = [line for line in said if line.startswith("loaded")]
    assert {line.split()[1] for line in loaded} == {"0", "1"} and [said[line] for line in loaded] == [1, 1]
    computed = [said[line.replace("loaded", "computed")] for line in loaded]
    assert sorted(computed) == [1, 2]
    einfluence.measure(spec, tmp_path / "here", report=False)
    found, own = table(Store(tmp_path / "there")), table(Store(tmp_path / "here"))
    assert [row[:6] for row in found] == [row[:6] for row in own]
    assert all(abs(a[7] - b[7]) < 1e-4 for a, b in zip(found, own, strict=True))


def test_a_shard_that_kills_its_actor_is_recorded_and_another_actor_takes_the_place(
    study: tuple[Plan, Store], address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    todo, store = study
    bad = set(todo.jobs[0].probe_ids)

    class Deadly(runner.Worker):
        def compute(self, job: Job, device: str, threads: int) -> Done:
            if bad & set(job.probe_ids):
                os.kill(os.getpid(), signal.SIGKILL)
            return super().compute(job, device, threads)

    monkeypatch.setattr(runner, "Worker", Deadly)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"GPU": 1.0})  # one actor: nobody else could take the rest
    again = list[str]()
    alone = Backwards(lambda job: Lost("gone"))
    execute(todo, Ray(1, address=address), alone, Watch(again=again.append, failed=lambda _: None))
    assert len(again) == 2 and all("its worker died (ActorDiedError: The actor died" in line for line in again)
    assert failed(store) == dict.fromkeys(bad, "its worker died (Lost: gone)") and len(table(store)) == 24


def test_what_a_shard_ends_with_is_raised_as_it_is(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(runner.Worker):
        def compute(self, job: Job, device: str, threads: int) -> Done:
            raise InputError("here", "this", "that")

    monkeypatch.setattr(runner, "Worker", Refusing)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 1.0})
    with Ray(1, address=address) as place, pytest.raises(InputError) as raised:
        place.submit(JOB).result()
    assert str(raised.value) == str(InputError("here", "this", "that")) and not place.died(raised.value)


def test_actors_that_cannot_start_are_no_shards_fault(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(runner.Worker):
        def __init__(self) -> None:
            raise ModuleNotFoundError("No module named 'einfluence'")

    monkeypatch.setattr(runner, "Worker", Broken)
    with pytest.raises(InputError, match="No module named 'einfluence'"), Ray(2, "cpu", address):
        pass


def test_a_run_that_is_stopped_waits_for_no_actor(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(runner.Worker):
        def compute(self, job: Job, device: str, threads: int) -> Done:
            signal.pause()
            raise AssertionError

    monkeypatch.setattr(runner, "Worker", Endless)
    with pytest.raises(KeyboardInterrupt), Ray(2, "cpu", address) as place:
        waiting = [place.submit(JOB) for _ in range(4)]
        raise KeyboardInterrupt
    assert all(shard.done() for shard in waiting)
