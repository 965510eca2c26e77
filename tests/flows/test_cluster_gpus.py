"""A cluster is asked for a GPU for each shard, where it has some and the device is not the CPU."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any, cast

import pytest

from einfluence.errors import InputError
from einfluence.runners import dask, ray
from einfluence.shards import Job

JOB = cast("Job", None)  # nothing is computed


def where(job: Job, device: str, threads: int | None) -> str:
    """In place of computing: which worker it is."""
    from distributed import get_worker

    return get_worker().name


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """One worker that has two threads and announces a GPU, and one that announces none."""
    distributed = pytest.importorskip("distributed")
    workers = {
        "with": {"cls": distributed.Worker, "options": {"nthreads": 2, "resources": {"GPU": 1}}},
        "without": {"cls": distributed.Worker, "options": {"nthreads": 3}},
    }
    scheduler = {"cls": distributed.Scheduler, "options": {"dashboard_address": None, "host": "127.0.0.1", "port": 0}}
    with distributed.SpecCluster(workers, scheduler, silence_logs=False) as cluster:
        yield cluster.scheduler_address


@pytest.mark.parametrize(
    ("device", "slots", "taken"),
    [("auto", 1, {"with"}), ("cuda", 1, {"with"}), ("cpu", 5, {"with", "without"})],
)
def test_shards_go_to_dask_workers_that_announce_a_gpu(
    address: str, monkeypatch: pytest.MonkeyPatch, device: str, slots: int, taken: set[str]
) -> None:
    monkeypatch.setattr(dask, "compute_here", where)
    with dask.Dask(2, device, address) as workers:
        assert workers.slots == slots
        assert {pending.result() for pending in [workers.submit(JOB) for _ in range(40)]} == taken


def test_of_a_dask_worker_only_whole_gpus_that_its_threads_can_use_count() -> None:
    announced: list[dict[str, Any]] = [
        {"nthreads": 4},
        {"nthreads": 2, "resources": {"memory": 9}},
        {"nthreads": 1, "resources": {"GPU": 8}},
        {"nthreads": 8, "resources": {"GPU": 2.5}},
        {"nthreads": 1, "resources": {"GPU": 0.5}},
    ]
    assert dask.threads_and_gpus(announced) == (16, 3)


class StandIn:
    """What the runner calls of Ray, with actors in this process; `tests/test_ray.py` has Ray itself."""

    class RayTaskError(Exception):  # its text is a traceback, and the error itself stands under `cause`
        def __init__(self, cause: Exception) -> None:
            super().__init__("ray::Worker.compute() (pid=1)\n  File ...")
            self.cause = cause

    class ActorDiedError(Exception):
        pass

    exceptions = SimpleNamespace(RayTaskError=RayTaskError, RayActorError=ActorDiedError)

    def __init__(self, there: dict[str, float], ends: list[Exception]) -> None:
        self.there, self.ends, self.room = there, ends, 99
        self.address, self.asked, self.killed, self.over = None, dict[str, Any](), list[Any](), False

    def init(self, address: str | None = None, **sizes: object) -> None:
        self.address = address

    def cluster_resources(self) -> dict[str, float]:
        return self.there

    def remote(self, **asked: object) -> Any:
        self.asked = asked
        return lambda kind: SimpleNamespace(remote=self.actor)  # pyright: ignore[reportUnknownLambdaType]

    def actor(self) -> SimpleNamespace:
        lives = Future[None]()
        self.room -= 1
        if self.room >= 0:
            lives.set_result(None)
        ready = SimpleNamespace(remote=lambda: SimpleNamespace(future=lambda: lives))
        return SimpleNamespace(ready=ready, compute=SimpleNamespace(remote=lambda *given: "promised"))

    def get(self, promised: object) -> object:
        if promised == "promised" and self.ends:
            raise self.ends.pop(0)
        return promised

    def kill(self, actor: object) -> None:
        self.killed.append(actor)

    def shutdown(self) -> None:
        self.over = True


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    for name, value in ray.QUIET.items():
        monkeypatch.setenv(name, value)
    made = StandIn({"CPU": 1.0}, [])
    monkeypatch.setitem(sys.modules, "ray", made)
    monkeypatch.setattr(ray.Ray, "reach", staticmethod(lambda address: None))
    return made


@pytest.mark.parametrize(
    ("there", "device", "address", "slots", "asked"),
    [
        ({"CPU": 96.0, "GPU": 8.0}, "auto", "host:10001", 8, 1),
        ({"CPU": 96.0, "GPU": 8.0}, "cpu", "host:10001", 96, 0),
        ({"CPU": 2.0, "GPU": 4.0}, "cuda:1", None, 2, 0),
        ({"CPU": 2.0, "GPU": 1.0}, "cuda", None, 1, 1),
        ({"CPU": 96.0}, "auto", "host:10001", 96, 0),
        ({"CPU": 2.0}, "auto", None, 2, 0),
    ],
)
def test_ray_is_asked_for_a_gpu_where_it_has_some(
    stand_in: StandIn, there: dict[str, float], device: str, address: str | None, slots: int, asked: int
) -> None:
    stand_in.there = there
    with ray.Ray(2, device, address) as workers:
        assert workers.slots == slots
    assert stand_in.asked == ({"num_gpus": 1, "num_cpus": 0} if asked else {"num_cpus": 1})
    assert stand_in.address == (address and f"ray://{address}") and stand_in.over
    assert len({id(actor) for actor in stand_in.killed}) == slots


@pytest.mark.parametrize("error", [InputError("here", "this", "that"), ValueError("what went wrong")])
def test_what_a_shard_ends_with_under_ray_is_raised_without_the_account_that_ray_makes_of_it(
    stand_in: StandIn, error: Exception
) -> None:
    stand_in.ends = [StandIn.RayTaskError(error)]
    with ray.Ray(1) as workers:
        with pytest.raises(type(error)) as raised:
            workers.submit(JOB).result()
        assert raised.value is error and not workers.died(error) and not stand_in.killed
        assert workers.submit(JOB).result() == "promised"


def test_another_actor_takes_the_place_of_one_that_died(stand_in: StandIn) -> None:
    died = StandIn.ActorDiedError("gone")
    stand_in.ends = [died]
    with ray.Ray(1) as workers:
        with pytest.raises(StandIn.ActorDiedError):
            workers.submit(JOB).result()
        assert workers.died(died) and len(stand_in.killed) == 1
        assert workers.submit(JOB).result() == "promised"


def test_actors_for_which_there_is_no_room_get_no_shard(stand_in: StandIn) -> None:
    stand_in.room = 1
    with ray.Ray(2) as workers:
        assert [each.result() for each in [workers.submit(JOB) for _ in range(3)]] == ["promised"] * 3


def test_a_run_that_is_stopped_waits_for_no_room(stand_in: StandIn) -> None:
    stand_in.ends, stand_in.room = [StandIn.ActorDiedError("gone")], 1
    with pytest.raises(KeyboardInterrupt), ray.Ray(1) as workers:
        with pytest.raises(StandIn.ActorDiedError):
            workers.submit(JOB).result()
        waiting = workers.submit(JOB)
        raise KeyboardInterrupt
    assert waiting.done()


def test_an_address_where_no_ray_is_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace())
    for name, value in ray.QUIET.items():
        monkeypatch.setenv(name, value)
    with (
        pytest.raises(InputError, match=r"'ray://127.0.0.1:1' \(Connection refused\)"),
        ray.Ray(1, address="127.0.0.1:1"),
    ):
        pass
