"""Shards: as many blocks as take half a minute, and the same numbers whatever that is."""

from __future__ import annotations

from pathlib import Path

import pytest

import einfluence
from einfluence import shards as cutting
from einfluence.compute import compute
from einfluence.models.base import BaseInfo
from einfluence.plan import plan
from einfluence.prepare import prepare
from einfluence.session import Session
from einfluence.shards import Job, Shards
from einfluence.spec import FineTune, load_spec
from einfluence.store.store import ArmKey, CellBlock, Store
from tests.flows.test_runners import write_spec


def jobs(count: int, recipe: str = "r", queries: int = 10) -> list[Job]:
    base = BaseInfo("b", "base", "causal_lm", "/")
    key = ArmKey("b", "finetune", recipe, 0, "1")
    asked = tuple(f"q{index}" for index in range(queries))
    blocks = [CellBlock(tuple(f"p{index}-{probe}" for probe in range(64)), asked) for index in range(count)]
    return [Job("store", base, "c", FineTune(), key, (block,), 0, False) for block in blocks]


def taken(shards: Shards, seconds_a_block: float) -> list[int]:
    """Blocks of each shard, where each takes what it takes."""
    sizes: list[int] = []
    while (job := shards.take()) is not None:
        sizes.append(len(job.blocks))
        shards.took(job, seconds_a_block * len(job.blocks))
    return sizes


def test_shards_take_half_a_minute_once_the_pace_is_known() -> None:
    assert taken(Shards(jobs(31)), 3.0) == [1, 10, 10, 10]
    assert taken(Shards(jobs(4)), 40.0) == [1, 1, 1, 1]


def test_no_shard_is_larger_than_a_workers_share_of_what_is_left() -> None:
    assert taken(Shards(jobs(9), workers=4), 0.1) == [1, 2, 2, 1, 1, 1, 1]


def test_memory_bounds_a_shard() -> None:
    assert max(taken(Shards(jobs(100)), 0.001)) * 64 == cutting.MOST_PROBES
    wide = taken(Shards(jobs(20, queries=10_000)), 0.001)
    assert max(wide) * 64 * 10_000 <= cutting.MOST_CELLS


def test_arms_are_not_mixed_and_each_has_its_own_pace() -> None:
    shards = Shards([*jobs(3), *jobs(3, recipe="other")])
    assert taken(shards, 0.1) == [1, 2, 1, 2]


def test_a_size_in_the_spec_is_kept_to() -> None:
    assert taken(Shards(jobs(5), fixed=True), 0.1) == [1] * 5


def test_the_table_is_bit_for_bit_the_same_whatever_the_clock_said(
    tmp_path: Path, gpt2_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("einfluence.plan.BLOCK", 4)
    spec = write_spec(tmp_path, gpt2_folder, count=22, shard=None)
    tables = []
    for work in (0.0, 30.0):
        monkeypatch.setattr(cutting, "WORK", work)
        store = Store(tmp_path / f"store{work}")
        einfluence.measure(spec, store, report=False)
        tables.append(store.influence().order("probe_id, query_id").fetchall())
    assert tables[0] == tables[1] and len(tables[0]) == 22 * 22
    entries = [len(list((tmp_path / f"store{work}" / "log").iterdir())) for work in (0.0, 30.0)]
    assert entries[1] < entries[0]


def test_a_run_goes_on_with_the_blocks_of_an_unharmed_one(
    tmp_path: Path, gpt2_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("einfluence.plan.BLOCK", 4)
    spec = load_spec(write_spec(tmp_path, gpt2_folder, count=22, shard=None))
    store = Store(tmp_path / "store")
    prepared = [prepare(spec, part, store, Session()) for part in spec.parts]
    todo = plan(spec, prepared, store)
    shards = Shards(todo.jobs)
    for _ in range(2):
        job = shards.take()
        assert job is not None
        shards.took(job, compute(job, Session()).seconds)
    assert len(job.blocks) > 1
    left = plan(spec, prepared, store)
    ids = [job.probe_ids for job in todo.jobs]
    assert [job.probe_ids for job in left.jobs] == ids[len(ids) - len(left.jobs) :]
