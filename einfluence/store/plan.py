"""Wanted cells minus present cells."""

from __future__ import annotations

from pathlib import Path

import duckdb

from einfluence.errors import InputError
from einfluence.store.schema import TABLES

QUERY = (Path(__file__).parent / "missing.sql").read_text(encoding="utf-8")


def missing_queries(wanted: Path, present: list[str]) -> dict[str, tuple[str, ...]]:
    """For each probe that lacks cells of an arm: the sample_ids of the queries that it lacks, sorted.

    Args:
        wanted: The relations of a curation, which are the list of wanted cells.
        present: The parts of the influence table that hold the arm.

    Raises:
        InputError: When a part cannot be read.
    """
    connection = duckdb.connect(config={"python_enable_replacements": False, "autoinstall_known_extensions": False})
    try:
        connection.execute("set preserve_insertion_order = false")
        connection.read_parquet(str(wanted)).create_view("wanted_cells")
        if present:
            connection.read_parquet(present, hive_partitioning=False).create_view("present_cells")
        else:
            connection.from_arrow(TABLES["influence"].empty_table()).create_view("present_cells")
        rows = connection.execute(QUERY).fetchall()
    except duckdb.Error as error:
        fix = "`einfluence verify` names what is damaged, `--repair` sets it aside to be computed anew"
        raise InputError("the store", str(error).strip(), "Parquet files that can be read", fix) from error
    finally:
        connection.close()
    queries = {probe_id: tuple(query_ids) for probe_id, _, query_ids in rows if query_ids is not None}
    return {probe_id: queries[twin_id] for probe_id, twin_id, _ in rows}
