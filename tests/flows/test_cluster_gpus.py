"""A cluster is asked for a GPU for each shard, where it has some and the device is not the CPU."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

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
    monkeypatch: pytest.MonkeyPatch, there: dict[str, float], device: str, address: str | None, slots: int, asked: int
) -> None:
    wanted = dict[str, Any]()

    def init(**at: Any) -> None:
        assert at.get("address") == (address and f"ray://{address}")

    def remote(**options: Any) -> Any:
        wanted.update(options)
        return lambda function: function  # pyright: ignore[reportUnknownLambdaType, reportUnknownVariableType]

    stand_in = SimpleNamespace(init=init, remote=remote, cluster_resources=lambda: there, shutdown=lambda: None)
    monkeypatch.setitem(sys.modules, "ray", stand_in)
    for name, value in ray.QUIET.items():
        monkeypatch.setenv(name, value)
    with ray.Ray(2, device, address) as workers:
        assert workers.slots == slots
    assert wanted == {"max_retries": 0, "num_gpus": asked}
