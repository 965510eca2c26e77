"""Wanted cells minus present cells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb

from einfluence.errors import InputError
from einfluence.store.schema import TABLES

QUERY, UNRESTORED = (
    (Path(__file__).parent / name).read_text(encoding="utf-8") for name in ("missing.sql", "unrestored.sql")
)


def missing_queries(wanted: Path, present: list[str]) -> dict[str, tuple[str, ...]]:
    """For each probe that lacks cells of an arm: the sample_ids of the queries that it lacks, sorted.

    Args:
        wanted: The relations of a curation, which are the list of wanted cells.
        present: The parts of the influence table that hold the arm.

    Raises:
        InputError: When a part cannot be read.
    """
    rows = _ask(QUERY, {}, {"wanted_cells": [str(wanted)], "present_cells": present}, "influence")
    queries = {probe_id: tuple(query_ids) for probe_id, _, query_ids in rows if query_ids is not None}
    return {probe_id: queries[twin_id] for probe_id, twin_id, _ in rows}


def unrestored_queries(
    curation: Path, present: list[str], probes: int
) -> tuple[int, list[tuple[str, tuple[str, ...]]]]:
    """How many pairs of probe and query are wanted of an arm's restorations; and of each probe those that it lacks.

    Args:
        curation: The curation's folder.
        present: The parts of the table of restorations that hold the arm.
        probes: How many probes are wanted.

    Raises:
        InputError: When a part cannot be read.
    """
    files = {
        "wanted_cells": [str(curation / "relations.parquet")],
        "curated_probes": [str(curation / "probes.parquet")],
        "present_restorations": present,
    }
    rows = _ask(UNRESTORED, {"probes": probes}, files, "restorations")
    return sum(row[1] for row in rows), [(probe_id, tuple(missing)) for probe_id, _, missing in rows if missing]


def _ask(query: str, parameters: dict[str, int], files: dict[str, list[str]], empty: str) -> list[tuple[Any, ...]]:
    """Runs a query over views of files; a view without a file has the columns of the table ``empty`` and no row."""
    connection = duckdb.connect(config={"python_enable_replacements": False, "autoinstall_known_extensions": False})
    try:
        connection.execute("set preserve_insertion_order = false")
        for view, paths in files.items():
            if paths:
                connection.read_parquet(paths, hive_partitioning=False).create_view(view)
            else:
                connection.from_arrow(TABLES[empty].empty_table()).create_view(view)
        return connection.execute(query, parameters or None).fetchall()
    except duckdb.Error as error:
        fix = "`einfluence verify` names what is damaged, `--repair` sets it aside to be computed anew"
        raise InputError("the store", str(error).strip(), "Parquet files that can be read", fix) from error
    finally:
        connection.close()
