"""Scores: the tables of one scoring count together, whenever it ends."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from einfluence.store.files import Files, table_bytes
from einfluence.store.schema import SCORED, TABLES
from einfluence.store.store import Store
from einfluence.store.verify import verify
from tests.store.made_up import prepared


def scoring(note: str) -> dict[str, pa.Table]:
    """One row in each table, which says of which scoring it is."""
    return {name: pa.Table.from_pylist([{"note": note}], TABLES[name]) for name in SCORED}


def seen(store: Store) -> dict[str, list[str]]:
    """What a reader finds in each table."""
    with store.connect() as connection:
        return {name: [note for (note,) in connection.sql(f"select note from {name}").fetchall()] for name in SCORED}


def faults(root: Path) -> list[tuple[str, str]]:
    return [(fault.kind, fault.name.split("/")[0]) for fault in verify(Store(root))[1]]


@pytest.mark.parametrize("written", range(len(SCORED) + 1))
def test_a_scoring_that_is_killed_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    store = prepared(tmp_path)
    store.write_scores(scoring("old"))
    with monkeypatch.context() as patch:
        put, left = Files.put, [None] * written

        def put_some(files: Files, name: str, data: bytes, *, new: bool = False) -> bool:
            if not left:
                raise KeyboardInterrupt
            left.pop()
            return put(files, name, data, new=new)

        patch.setattr(Files, "put", put_some)
        with pytest.raises(KeyboardInterrupt):
            store.write_scores(scoring("new"))
    assert seen(Store(tmp_path)) == {name: ["old"] for name in SCORED}
    assert {kind for kind, _ in faults(tmp_path)} <= {"leftover"}
    store.write_scores(scoring("new"))
    assert seen(Store(tmp_path)) == {name: ["new"] for name in SCORED}
    store.tidy(grace=0.0)
    assert faults(tmp_path) == []


def test_who_reads_sees_one_scoring_to_the_end(tmp_path: Path) -> None:
    store = prepared(tmp_path)
    store.write_scores(scoring("old"))
    with Store(tmp_path).connect() as reader:
        store.write_scores(scoring("new"))
        store.tidy()
        found = {name: reader.sql(f"select note from {name}").fetchall() for name in SCORED}
    assert found == {name: [("old",)] for name in SCORED}
    assert seen(Store(tmp_path)) == {name: ["new"] for name in SCORED}


def test_tables_of_a_version_that_wrote_no_note_are_read_until_the_next_scoring(tmp_path: Path) -> None:
    store = prepared(tmp_path)
    for name, table in scoring("old").items():
        store.files.put(f"{name}/current.parquet", table_bytes(table))
    assert Store(tmp_path).scored and faults(tmp_path) == []
    assert seen(Store(tmp_path)) == {name: ["old"] for name in SCORED}
    store.write_scores(scoring("new"))
    assert seen(Store(tmp_path)) == {name: ["new"] for name in SCORED}
    assert faults(tmp_path) == [("leftover", name) for name in sorted(SCORED)]
    store.tidy(grace=0.0)
    assert faults(tmp_path) == []


@pytest.mark.parametrize("harm", ["lost table", "damaged table", "damaged note"])
def test_without_one_table_none_is_shown_until_scored_anew(tmp_path: Path, harm: str) -> None:
    store = prepared(tmp_path)
    store.write_scores(scoring("old"))
    table = next((tmp_path / SCORED[-1]).glob("*.parquet"))
    if harm == "lost table":
        table.unlink()
        assert not Store(tmp_path).scored and seen(Store(tmp_path)) == {name: [] for name in SCORED}
    else:
        (table if harm == "damaged table" else tmp_path / "scores.json").write_bytes(b"[")
    named = {"lost table": ("missing", SCORED[-1]), "damaged table": ("damaged", SCORED[-1])}
    assert named.get(harm, ("damaged", "scores.json")) in faults(tmp_path)
    verify(Store(tmp_path), repair=True)
    assert {kind for kind, _ in faults(tmp_path)} <= {"leftover"}
    assert not Store(tmp_path).scored and seen(Store(tmp_path)) == {name: [] for name in SCORED}
    store.write_scores(scoring("old"))
    assert faults(tmp_path) == [] and seen(Store(tmp_path)) == {name: ["old"] for name in SCORED}
