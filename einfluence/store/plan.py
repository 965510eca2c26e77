"""Wanted cells minus present cells."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

    from einfluence.store.store import ArmKey

QUERY = (Path(__file__).parent / "missing.sql").read_text(encoding="utf-8")


def missing_queries(connection: duckdb.DuckDBPyConnection, curation: Path, arm: ArmKey) -> dict[str, tuple[str, ...]]:
    """For each probe that lacks cells of an arm: the sample_ids of the queries that it lacks, sorted.

    Args:
        connection: With the store's views.
        curation: Folder of the curation that says what is wanted.
        arm: The arm.
    """
    connection.read_parquet(str(curation / "relations.parquet")).create_view("wanted_cells", replace=True)
    rows = connection.execute(QUERY, dict(vars(arm))).fetchall()
    # Most probes lack the same queries: one tuple serves them all.
    seen: dict[tuple[str, ...], tuple[str, ...]] = {}
    return {probe_id: seen.setdefault(tuple(query_ids), tuple(query_ids)) for probe_id, query_ids in rows}
