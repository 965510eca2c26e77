"""The store: what is there is never computed again, and what is computed is there once."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from einfluence.errors import InputError
from einfluence.store import log as log_module
from einfluence.store.files import Files
from einfluence.store.log import Change, Log
from einfluence.store.schema import TABLES
from einfluence.store.store import CellBlock, Store
from einfluence.store.verify import verify
from tests.forked import FORKED
from tests.store.made_up import ARM, computed, curated, prepared, rows, run, samples_of

KEY = "c" * 20


def test_a_second_run_computes_nothing(tmp_path: Path) -> None:
    store = prepared(tmp_path)
    assert run(store, KEY) == 12
    assert run(Store(tmp_path), KEY) == 0
    assert rows(store).num_rows == 60
    assert rows(store, "outcomes").num_rows == 12


def test_new_probes_and_new_queries_compute_their_cells_alone(tmp_path: Path) -> None:
    store = prepared(tmp_path)
    run(store, KEY)
    store.add_curation("d" * 20, curated(samples_of(14), samples_of(6, offset=1000)), {})
    folder = store.curation("d" * 20)
    assert folder is not None
    blocks = store.missing(folder, ARM, 4)
    assert sum(block.cells for block in blocks) == 12 * 1 + 2 * 6
    new_query = samples_of(1, offset=1005)[0].sample_id
    assert {block.query_ids for block in blocks if len(block.query_ids) == 1} == {(new_query,)}
    run(store, "d" * 20)
    assert rows(store).num_rows == 14 * 6
    assert rows(store, "outcomes").num_rows == 14, "a probe trained again for a new query keeps its one outcome"
    assert rows(store, "layer_updates").num_rows == 14


def test_blocks_are_the_same_whatever_was_finished_before(tmp_path: Path) -> None:
    whole, resumed = prepared(tmp_path / "a"), prepared(tmp_path / "b")
    folder = whole.curation(KEY)
    assert folder is not None
    blocks = whole.missing(folder, ARM, 4)
    resumed.add_part(ARM, computed(blocks[1]))
    again = resumed.missing(resumed.root / "curations" / KEY, ARM, 4)
    assert [block.probe_ids for block in again] == [blocks[0].probe_ids, blocks[2].probe_ids]


def test_deleting_a_part_recomputes_exactly_its_cells(tmp_path: Path) -> None:
    store = prepared(tmp_path)
    run(store, KEY)
    before = rows(store)
    for table in ("influence", "outcomes"):  # what was committed together counts together
        Path(store.part_paths(table)[1]).unlink()
        assert rows(store).num_rows == 40
        assert rows(store, "outcomes").num_rows == 8
        assert run(Store(tmp_path), KEY) == 4
        assert rows(store).equals(before)
        assert rows(store, "outcomes").num_rows == 12


def test_a_block_computed_twice_is_there_once(tmp_path: Path) -> None:
    store = prepared(tmp_path)
    folder = store.curation(KEY)
    assert folder is not None
    first, second = store.missing(folder, ARM, 8)
    assert store.add_part(ARM, computed(first), since=first.since) == 40
    other = Store(tmp_path)
    overlapping = CellBlock((*first.probe_ids[:2], *second.probe_ids), first.query_ids, first.since)
    assert other.add_part(ARM, computed(overlapping), since=overlapping.since) == 20
    assert other.add_part(ARM, computed(first), since=first.since) == 0
    assert rows(store).num_rows == 60
    assert rows(store, "outcomes").num_rows == 12


def test_success_outweighs_an_earlier_failure(tmp_path: Path) -> None:
    store = prepared(tmp_path)
    block = store.missing(tmp_path / "curations" / KEY, ARM, 12)[0]
    bad = block.probe_ids[0]
    store.add_part(ARM, computed(block, failed=[bad]))
    assert rows(store, "outcomes").column("status").to_pylist().count("failed") == 1
    assert rows(store, "layer_updates").num_rows == 11
    retry = store.missing(tmp_path / "curations" / KEY, ARM, 12)
    assert [block.probe_ids for block in retry] == [(bad,)]
    assert store.add_part(ARM, computed(retry[0], failed=[bad])) == 0
    assert rows(store, "outcomes").num_rows == 12
    store.add_part(ARM, computed(retry[0]))
    assert rows(store, "outcomes").column("status").to_pylist() == ["done"] * 12
    assert rows(store, "layer_updates").num_rows == 12


def test_tidying_keeps_every_row_and_open_readers_go_on(tmp_path: Path) -> None:
    store = prepared(tmp_path, probes=40)
    run(store, KEY, shard=2)
    before = {table: rows(store, table) for table in ("influence", "outcomes", "layer_updates")}
    with store.connect() as reader:
        store.tidy()
        assert reader.execute("select count(*) from influence").fetchone() == (200,)
    assert [len(store.part_paths(table)) for table in before] == [1, 1, 1]
    for table, expected in before.items():
        assert rows(Store(tmp_path), table).equals(expected), table
    assert run(store, KEY) == 0
    store.tidy(grace=0.0)
    assert len(list((tmp_path / "influence").glob("*/*/*.parquet"))) == 1
    store.tidy(grace=0.0)
    assert rows(store).equals(before["influence"])


def test_a_store_written_before_a_column_was_added_reads_null_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = {
        name: pa.schema([field for field in schema if field.name not in ("noise_rms", "template")], schema.metadata)
        for name, schema in TABLES.items()
    }
    with monkeypatch.context() as patch:
        for name, schema in older.items():
            patch.setitem(TABLES, name, schema)
        store = prepared(tmp_path)
        run(store, KEY, shard=6)
    store = Store(tmp_path)
    store.add_curation("d" * 20, curated(samples_of(13), samples_of(5, offset=1000)), {})
    run(store, "d" * 20)
    assert set(rows(store, "outcomes")["noise_rms"].to_pylist()) == {None}
    with store.connect() as connection:
        assert connection.sql("select count(*), count(template) from samples").fetchall() == [(18, 0)]
    store.tidy(grace=0.0)
    assert rows(store, "outcomes").num_rows == 13
    assert set(rows(store, "outcomes")["noise_rms"].to_pylist()) == {None}


def test_of_two_that_tidy_one_wins(tmp_path: Path) -> None:
    store = prepared(tmp_path, probes=40)
    run(store, KEY, shard=2)
    before = rows(store)
    threads = [threading.Thread(target=Store(tmp_path).tidy) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rows(Store(tmp_path)).equals(before)


def test_superseded_relations_stay_for_readers_and_come_back_when_wanted(tmp_path: Path) -> None:
    store = prepared(tmp_path)
    store.add_curation("d" * 20, curated(samples_of(3), samples_of(3)), {})
    store.point_study("test/main", "d" * 20, order=2)
    assert store.curation(KEY) is not None
    store.tidy(grace=0.0)
    assert store.curation(KEY) is None, "without its relations a curation is not whole: a run makes it anew"
    assert store.curation("d" * 20) is not None
    with store.connect() as connection:
        assert connection.execute("select count(*) from samples").fetchone() == (12 + 5,)


def test_what_an_arms_own_parts_say_of_pairs_and_probes_is_known_where_parts_differ(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.open_for_writing()
    made = curated(samples_of(2), samples_of(2))
    for place, (key, kind, distance) in enumerate([("c" * 20, "negation", 0.5), ("d" * 20, None, 0.25)]):
        pairs = made.relations.set_column(2, "kind", pa.array([kind, None, None, None], pa.string()))
        pairs = pairs.set_column(4, "distance", pa.array([0.125, distance, 0.0, 0.0], pa.float32()))
        probes = made.probes.set_column(2, "kind", pa.array(["sample", "noisy" if place else "sample"], pa.string()))
        relations = pairs.cast(made.relations.schema)
        store.add_curation(key, replace(made, relations=relations, probes=probes.cast(made.probes.schema)), {})
        store.point_study(f"s/{key[0]}", key, order=place, arms=[(f"base of {key[0]}", "r")])
    with store.connect() as connection:
        found = connection.sql("select kind, distance from relations where kind is not null or distance = 0.25")
        assert set(found.fetchall()) == {("negation", 0.125), (None, 0.25)}
        own = connection.sql("select base, kind, distance from arm_relations")
        assert set(own.fetchall()) == {("base of c", None, 0.5), ("base of d", None, 0.125)}
        assert connection.sql("select kind, count(*) from probes group by all").fetchall() == [("sample", 2)]
        assert connection.sql("select base, kind from arm_probes").fetchall() == [("base of d", "noisy")]


def _run_whole(root: str, shard: int) -> None:
    run(Store(root), KEY, shard=shard)


def test_runs_at_the_same_time_neither_lose_nor_double_a_cell(tmp_path: Path) -> None:
    prepared(tmp_path, probes=60)
    processes = [FORKED.Process(target=_run_whole, args=(str(tmp_path), shard)) for shard in (3, 7)]
    for process in processes:
        process.start()
    seen = 0
    while any(process.is_alive() for process in processes):
        with Store(tmp_path).connect() as connection:
            found = connection.execute(
                "select count(*), count(distinct (probe_id, query_id)) from influence"
            ).fetchone()
        assert found is not None and found[0] == found[1] >= seen
        seen = found[0]
    assert [process.exitcode for process in processes] == [0, 0]
    assert rows(Store(tmp_path)).num_rows == 300
    assert rows(Store(tmp_path), "outcomes").num_rows == 60


def test_of_two_entries_of_one_number_the_later_reads_on(tmp_path: Path) -> None:
    files = Files(tmp_path)
    first, second = Log(files), Log(files)
    tries: list[int] = []

    def decide(state: log_module.LogState) -> Change:
        tries.append(state.version)
        if len(tries) == 1:
            first.commit(lambda _: Change())
        return Change()

    assert second.commit(decide)
    assert tries == [0, 1]


def test_a_writer_that_was_second_leaves_no_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, other = prepared(tmp_path), Store(tmp_path)
    first, second = store.missing(tmp_path / "curations" / KEY, ARM, 8)
    overlapping = CellBlock((*first.probe_ids[6:], *second.probe_ids), first.query_ids, first.since)
    ahead = [first, overlapping, second]  # cells that it has itself: some of them, then all; its own files again
    put = store.files.put

    def put_second(name: str, data: bytes, *, new: bool = False) -> bool:
        if name.startswith("log/") and ahead:
            block = ahead.pop(0)
            other.add_part(ARM, computed(block), since=block.since)
        return put(name, data, new=new)

    monkeypatch.setattr(store.files, "put", put_second)
    assert store.add_part(ARM, computed(overlapping), since=overlapping.since) == 0
    assert ahead == [second]
    assert store.add_part(ARM, computed(second), since=second.since) == 0
    assert rows(store).num_rows == 60
    assert verify(store)[1] == []


def test_of_two_that_merge_the_second_leaves_no_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, other = prepared(tmp_path, probes=40), Store(tmp_path)
    run(store, KEY, shard=2)
    touch = store.files.touch

    def touch_second(name: str) -> None:
        if len(other.units()) == 20:
            block = CellBlock(("p",), ("q",), -1)
            other.add_part(ARM, computed(block))
            other.tidy()
        touch(name)

    monkeypatch.setattr(store.files, "touch", touch_second)
    store.tidy()
    live = {name for unit in store.units() for name in unit.files.values()}
    old = {name for name in store.files.names("influence") if name not in live}
    assert len(store.units()) == 1 and len(old) == 21, "those that were merged stay for readers, and nothing else"


def test_the_log_is_read_from_its_last_whole_entry(tmp_path: Path) -> None:
    store = prepared(tmp_path, probes=70)
    run(store, KEY, shard=1)
    fresh = Log(Files(tmp_path)).state()
    assert fresh.version == 70
    assert fresh.units == store.log.state().units


def test_a_lost_log_entry_is_noticed(tmp_path: Path) -> None:
    store = prepared(tmp_path)
    run(store, KEY)
    (tmp_path / "log" / "00000002.json").unlink()
    with pytest.raises(InputError, match="verify --repair"):
        Store(tmp_path).units()


def test_a_store_of_another_version_is_refused(tmp_path: Path) -> None:
    prepared(tmp_path)
    (tmp_path / "einfluence.json").write_text(json.dumps({"store_version": 99}))
    with pytest.raises(InputError, match="a store of version 99"):
        Store(tmp_path)
    (tmp_path / "einfluence.json").write_text("[1")
    with pytest.raises(InputError, match="cannot be read"):
        Store(tmp_path)


def test_part_names_are_the_checksums_of_their_bytes(tmp_path: Path) -> None:
    from einfluence.keys import file_digest

    store = prepared(tmp_path)
    run(store, KEY)
    for path in store.part_paths("influence"):
        assert Path(path).stem == file_digest(path)


def test_equal_tables_give_equal_bytes_in_any_order(tmp_path: Path) -> None:
    store = prepared(tmp_path)
    table = computed(store.missing(tmp_path / "curations" / KEY, ARM, 2)[0])["influence"]
    name = store.parts.write(ARM, "influence", table)
    assert store.parts.write(ARM, "influence", table.take(list(range(table.num_rows))[::-1])) == name
    assert pq.read_metadata(tmp_path / name).num_rows == 10


def test_deltas_are_kept_within_the_budget_and_used_once_the_probe_is_there(tmp_path: Path) -> None:
    import torch

    store = prepared(tmp_path)
    block = store.missing(tmp_path / "curations" / KEY, ARM, 12)[0]
    deltas = {probe: {"w": torch.full((256,), float(index))} for index, probe in enumerate(block.probe_ids)}
    assert 4 <= store.keep_deltas(ARM, deltas, budget=5 * 1400) <= 6
    used = sum(path.stat().st_size for path in (tmp_path / "deltas").rglob("*.safetensors"))
    assert 0 < used <= 5 * 1400
    assert store.kept_deltas(ARM, block.probe_ids) == {}, "the outcome of no probe is known yet"
    store.add_part(ARM, computed(block))
    kept = store.kept_deltas(ARM, block.probe_ids)
    assert 4 <= len(kept) <= 6
    probe, path = next(iter(kept.items()))
    assert store.kept_deltas(ARM, [probe, "nobody"]) == {probe: path}
