"""Cells of an arm that measures some of them: all that is claimed, and of the rest what is drawn.

Queries are in twenty groups by the hash of their ids, and each probe has an order of the groups that is drawn by its
own sample: it meets the first of them, as many as the part says. So the cells of a probe are a random sample of known
probability; other probes' are drawn apart from it; more groups only add cells; and what two probes have in
common is whole groups, which an engine reads together.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from einfluence.store.curations import probe_order
from einfluence.store.missing import CellBlock, ask

PLACES, PLACED, MISSING = (
    (Path(__file__).parent / f"{name}.sql").read_text(encoding="utf-8")
    for name in ("sample_places", "placed_relations", "missing_sampled")
)


@dataclass(frozen=True)
class SampledBlock(CellBlock):
    """Probes that each lack queries of their own; ``query_ids`` are those that any of them lacks.

    Args:
        pieces: Which probes lack which queries, both by their index; no cell is in two.
    """

    pieces: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = ()

    @property
    def cells(self) -> int:
        """Number of missing cells."""
        return sum(len(probes) * len(queries) for probes, queries in self.pieces)


def missing_sampled(
    curation: Path, present: list[str], size: int, since: int, groups: int
) -> tuple[int, list[SampledBlock]]:
    """How many cells are wanted of an arm, and the blocks of at most ``size`` probes that the table lacks.

    Blocks are cut along the curation's list of probes, as for an arm of which all cells are measured.

    Args:
        curation: The curation's folder.
        present: The parts of the influence table that hold the arm.
        size: Most probes in a block.
        since: Entry of the log that ``present`` was read from, or an earlier one.
        groups: How many of the twenty groups of queries each probe meets.

    Raises:
        InputError: When a part cannot be read.
    """
    relations = pq.read_table(curation / "relations.parquet", columns=["probe_id", "query_id", "kind"])
    found = {
        "curated_relations": relations.append_column("curation", [[""] * relations.num_rows]),
        "probe_members": [str(curation / "probe_members.parquet")],
        "samples": [str(curation / "samples.parquet")],
        "present_cells": present,
    }
    rows = ask(MISSING, {"groups": groups}, found, "influence", (PLACES, PLACED))
    lacking: dict[str, list[tuple[int, tuple[str, ...]]]] = {}
    for probe_id, group, _, query_ids in rows:
        if query_ids:
            lacking.setdefault(probe_id, []).append((group, tuple(query_ids)))
    order = probe_order(curation)
    blocks = (_block(order[start : start + size], lacking, since) for start in range(0, len(order), size))
    return sum(row[2] for row in rows), [block for block in blocks if block.pieces]


def _block(order: list[str], lacking: dict[str, list[tuple[int, tuple[str, ...]]]], since: int) -> SampledBlock:
    probes = [probe_id for probe_id in order if probe_id in lacking]
    alike: dict[tuple[int, tuple[str, ...]], list[int]] = {}
    for index, probe_id in enumerate(probes):
        for group, query_ids in lacking[probe_id]:
            alike.setdefault((group, query_ids), []).append(index)
    queries = sorted({query_id for _, query_ids in alike for query_id in query_ids})
    place = {query_id: index for index, query_id in enumerate(queries)}
    pieces = tuple((tuple(some), tuple(place[name] for name in names)) for (_, names), some in alike.items())
    return SampledBlock(tuple(probes), tuple(queries), since, pieces)
