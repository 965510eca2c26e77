"""Wanted cells minus present cells, in blocks: what one engine call computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from einfluence.errors import InputError
from einfluence.store.database import database
from einfluence.store.schema import TABLES

CELLS, ABLATIONS, IS_EXAMPLE = (
    (Path(__file__).parent / f"{name}.sql").read_text(encoding="utf-8")
    for name in ("missing", "missing_ablations", "is_example")
)


@dataclass(frozen=True)
class CellBlock:
    """Probes that lack the same queries.

    Args:
        probe_ids: The probes.
        query_ids: The queries that each of them lacks.
        since: The log entry up to which these cells are known to be missing.
    """

    probe_ids: tuple[str, ...]
    query_ids: tuple[str, ...]
    since: int = -1

    @property
    def cells(self) -> int:
        """Number of missing cells."""
        return len(self.probe_ids) * len(self.query_ids)


@dataclass(frozen=True)
class AblationBlock(CellBlock):
    """Probes whose layers are to be ablated one at a time, each with queries of its own (:attr:`wanted`)."""

    wanted: tuple[tuple[str, ...], ...] = ()

    @property
    def cells(self) -> int:
        """Number of missing pairs of probe and query, whatever the number of layers."""
        return sum(len(queries) for queries in self.wanted)


def missing_cells(
    order: Sequence[str], wanted: Path | pa.Table, present: list[str], size: int, since: int
) -> list[CellBlock]:
    """The cells that are wanted of an arm and that the table lacks, in blocks of at most ``size`` probes.

    Blocks are cut along the whole list of probes, not along what is missing, so a run that was killed resumes with the
    very blocks that an uninterrupted one would have computed.

    Args:
        order: All probes.
        wanted: The wanted pairs of probe and query: a Parquet file, or a table.
        present: The parts of the influence table that hold the arm.
        size: Most probes in a block.
        since: Entry of the log that ``present`` was read from, or an earlier one.

    Raises:
        InputError: When a part cannot be read.
    """
    found = wanted if isinstance(wanted, pa.Table) else [str(wanted)]
    rows = ask(CELLS, {}, {"wanted_cells": found, "present_cells": present}, "influence")
    queries = {probe_id: tuple(query_ids) for probe_id, _, query_ids in rows if query_ids is not None}
    by_probe = {probe_id: queries[twin_id] for probe_id, twin_id, _ in rows}
    blocks: list[CellBlock] = []
    for start in range(0, len(order), size):
        groups: dict[tuple[str, ...], list[str]] = {}
        for probe_id in order[start : start + size]:
            if probe_id in by_probe:
                groups.setdefault(by_probe[probe_id], []).append(probe_id)
        blocks += [CellBlock(tuple(probes), lacking, since) for lacking, probes in groups.items()]
    return blocks


def missing_ablations(
    curation: Path, present: list[str], size: int, since: int, probes: int
) -> tuple[int, list[AblationBlock]]:
    """What a curation wants of an arm's layer ablations, and what of it the table lacks.

    Args:
        curation: The curation's folder.
        present: The parts of the table of ablations that hold the arm.
        size: Most probes in a block.
        since: Entry of the log that ``present`` was read from, or an earlier one.
        probes: So many probes are wanted, the first by their id.

    Returns:
        The number of wanted pairs of probe and query, and the blocks that are missing.

    Raises:
        InputError: When a part cannot be read.
    """
    files = {
        "wanted_cells": [str(curation / "relations.parquet")],
        "curated_probes": [str(curation / "probes.parquet")],
        "present_ablations": present,
    }
    rows = ask(ABLATIONS, {"probes": probes}, files, "restorations", [IS_EXAMPLE])
    missing = [(probe_id, tuple(queries)) for probe_id, _, queries in rows if queries]
    blocks: list[AblationBlock] = []
    for start in range(0, len(missing), size):
        ids, queries = zip(*missing[start : start + size], strict=True)
        every = tuple(sorted({query for each in queries for query in each}))
        blocks.append(AblationBlock(ids, every, since, queries))
    return sum(row[1] for row in rows), blocks


def ask(
    query: str,
    parameters: dict[str, int],
    files: Mapping[str, list[str] | pa.Table],
    empty: str,
    views: Sequence[str] = (),
) -> list[tuple[Any, ...]]:
    """Runs a query over views of files or tables; one without a file has the columns of ``empty`` and no row.

    Args:
        query: The query.
        parameters: Its parameters.
        files: Files or a table by the name of the view.
        empty: A table of the schema.
        views: Statements that create further views over these, or macros.
    """
    connection = database(path for paths in files.values() if not isinstance(paths, pa.Table) for path in paths)
    try:
        for view, paths in files.items():
            if isinstance(paths, pa.Table):
                connection.from_arrow(paths).create_view(view)
            elif paths:
                connection.read_parquet(paths, hive_partitioning=False, union_by_name=True).create_view(view)
            else:
                connection.from_arrow(TABLES[empty].empty_table()).create_view(view)
        for own in views:
            connection.execute(own)
        return connection.execute(query, parameters or None).fetchall()
    except duckdb.Error as error:
        fix = "`einfluence verify` names what is damaged, `--repair` sets it aside to be computed anew"
        raise InputError("the store", str(error).strip(), "Parquet files that can be read", fix) from error
    finally:
        connection.close()
