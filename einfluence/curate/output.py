"""Curated tables as Parquet files."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow.parquet as pq

from einfluence.samples import Curated

TABLES = ("samples", "probes", "probe_members", "relations", "distances", "report")


def write_tables(curated: Curated, folder: Path) -> list[Path]:
    """Writes ``<table>.parquet`` for each table; the same tables give the same bytes (with the same pyarrow).

    Each file is written under another name and then renamed, so that a file that exists is whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for name in TABLES:
        path, partial = folder / f"{name}.parquet", folder / f".{name}.parquet.{os.getpid()}"
        try:
            pq.write_table(getattr(curated, name), partial, compression="zstd", store_schema=False)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
        paths.append(path)
    return paths
