"""Threads are for much data."""

from __future__ import annotations

from pathlib import Path

import pytest

from einfluence.store import database
from einfluence.store.database import LITTLE


@pytest.mark.parametrize(("size", "threads"), [(LITTLE // 2, 1), (LITTLE, 3)])
def test_little_data_is_read_in_one_thread(tmp_path: Path, size: int, threads: int) -> None:
    connect = database.duckdb.connect

    def of_three(config: dict[str, object]) -> object:
        return connect(config={**config, "threads": 3})  # whatever this machine has

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database.duckdb, "connect", of_three)
        (tmp_path / "part").write_bytes(bytes(size))
        with database.database([tmp_path / "part", tmp_path / "gone"]) as connection:
            assert connection.execute("select current_setting('threads')").fetchall() == [(threads,)]
