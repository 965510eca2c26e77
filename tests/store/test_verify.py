"""Damage is found, named, set aside, and computed anew."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from einfluence.store.store import Store
from einfluence.store.verify import verify
from tests.store.made_up import ARM, computed, prepared, rows, run

KEY = "c" * 20


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def _filled(root: Path, shard: int = 4) -> Store:
    store = prepared(root)
    run(store, KEY, shard=shard)
    return store


def test_a_whole_store_has_no_fault(tmp_path: Path) -> None:
    store = _filled(tmp_path)
    store.add_rows("bases", [{"base": "b" * 20, "label": "made up", "modality": "text", "json": "{}"}])
    store.write_run({"started": "2026-01-01T00:00:00+00:00", "study": "test"})
    read, faults = verify(Store(tmp_path))
    assert (read, faults) == (len([path for path in tmp_path.rglob("*") if path.is_file()]), [])


@pytest.mark.parametrize("table", ["influence", "outcomes", "layer_updates"])
@pytest.mark.parametrize("harm", [_flip, _cut, Path.unlink])
def test_a_harmed_part_is_named_set_aside_and_computed_anew(tmp_path: Path, table: str, harm: object) -> None:
    before = rows(_filled(tmp_path))
    path = Path(Store(tmp_path).part_paths(table)[1])
    harm(path)  # type: ignore[operator]
    _, faults = verify(Store(tmp_path))
    assert [(fault.name, fault.kind) for fault in faults if fault.kind != "leftover"] == [
        (path.relative_to(tmp_path).as_posix(), "missing" if harm is Path.unlink else "damaged")
    ]
    verify(Store(tmp_path), repair=True)
    assert {fault.kind for fault in verify(Store(tmp_path))[1]} <= {"leftover"}
    assert run(Store(tmp_path), KEY) == 4
    assert rows(Store(tmp_path)).equals(before)
    assert rows(Store(tmp_path), "outcomes").num_rows == 12


@pytest.fixture(scope="module")
def seventy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with seventy entries in its log."""
    root = tmp_path_factory.mktemp("seventy")
    run(prepared(root, probes=70), KEY, shard=1)
    return root


@pytest.mark.parametrize("entry", [1, 64, 65, 70])
@pytest.mark.parametrize("harm", [_flip, _cut, Path.unlink])
def test_a_harmed_log_loses_at_most_one_entry(seventy: Path, tmp_path: Path, entry: int, harm: object) -> None:
    shutil.copytree(seventy, tmp_path, dirs_exist_ok=True)
    before = rows(Store(tmp_path))
    path = tmp_path / "log" / f"{entry:08d}.json"
    harm(path)  # type: ignore[operator]
    if entry == 70 and harm is Path.unlink:
        assert verify(Store(tmp_path))[1][0].kind == "leftover", "as if the last block had been killed before its entry"
    else:
        assert f"log/{path.name}" in [fault.name for fault in verify(Store(tmp_path))[1]]
    verify(Store(tmp_path), repair=True)
    assert run(Store(tmp_path), KEY, shard=1) <= 1
    assert rows(Store(tmp_path)).equals(before)


def test_foreign_files_are_named_and_set_aside(tmp_path: Path) -> None:
    store = _filled(tmp_path)
    before = rows(store)
    for name in ("influence/notes.txt", "influence/base=x/estimator=y/part.parquet", "log/notes.json", "mine.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("not ours")
    _, faults = verify(Store(tmp_path), repair=True)
    assert len(faults) == 4 and {fault.kind for fault in faults} == {"foreign"}
    assert (tmp_path / ".aside" / "mine.csv").read_text() == "not ours"
    assert verify(Store(tmp_path))[1] == []
    assert rows(Store(tmp_path)).equals(before)


@pytest.mark.parametrize("name", ["relations.parquet", "samples.parquet", "done.json"])
def test_a_harmed_curation_is_made_anew(tmp_path: Path, name: str) -> None:
    store = _filled(tmp_path)
    path = tmp_path / "curations" / KEY / name
    _cut(path) if name == "done.json" else _flip(path)
    _, faults = verify(store, repair=True)
    assert (path.relative_to(tmp_path).as_posix(), "damaged") in [(fault.name, fault.kind) for fault in faults]
    assert Store(tmp_path).curation(KEY) is None
    prepared(tmp_path)
    assert run(Store(tmp_path), KEY) == 0


def test_harmed_deltas_notes_and_marker_are_named(tmp_path: Path) -> None:
    import torch

    store = _filled(tmp_path)
    probe = store.missing(prepared(tmp_path / "other").root / "curations" / KEY, ARM, 12)
    assert probe == []
    block = prepared(tmp_path / "third").missing(tmp_path / "curations" / KEY, ARM, 2)[0]
    store.add_part(ARM, computed(block))
    store.keep_deltas(ARM, {block.probe_ids[0]: {"w": torch.ones(64)}}, budget=10**6)
    for path in tmp_path.glob("deltas/*/*/*.safetensors"):
        _flip(path)
    for name in ("other", "third"):
        for path in sorted((tmp_path / name).rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        (tmp_path / name).rmdir()
    (tmp_path / "einfluence.json").write_text("{")
    study = next((tmp_path / "studies").glob("*.json"))
    study.write_text("")
    damaged = {fault.name.split("/")[0] for fault in verify(Store(tmp_path, check=False), repair=True)[1]}
    assert damaged == {"deltas", "einfluence.json", "studies"}
    assert store.kept_deltas(ARM, block.probe_ids[:1]) == {}
    assert Store(tmp_path).exists
    assert verify(Store(tmp_path))[1] == []
