"""DuckDB in memory, for the Parquet files of a store."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import duckdb

LITTLE = 2**20  # bytes; DuckDB has one task for up to 122,880 rows of a table


def database(files: Iterable[str | Path]) -> duckdb.DuckDBPyConnection:
    """An empty database in which some files will be read.

    Over little data it has one thread: handing tasks to others takes longer than to do them.
    """
    connection = duckdb.connect(config={"python_enable_replacements": False, "autoinstall_known_extensions": False})
    connection.execute("set preserve_insertion_order = false")
    if sum(path.stat().st_size for path in map(Path, files) if path.is_file()) < LITTLE:
        connection.execute("set threads = 1")
    return connection
