"""Parts of the tables that arms write: each written once, whole, under the checksum of its bytes.

A part counts once the log names it. What one block computed is a unit of parts, which counts whole or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from einfluence.errors import InputError
from einfluence.store.files import Files, bytes_digest, table_bytes
from einfluence.store.log import ArmKey, Change, Log, LogState, Unit
from einfluence.store.schema import PARTED, TABLES

CELL = ("probe_id", "query_id")


def columns_of(name: str) -> pa.Schema:
    """A table's columns without those that the arm gives."""
    given = {field.name for field in fields(ArmKey)}
    return pa.schema([field for field in TABLES[name] if field.name not in given])


class Parts:
    """The parts that count, and the adding of new ones.

    Args:
        files: The store's files.
        log: The store's log.
    """

    def __init__(self, files: Files, log: Log) -> None:
        self._files, self._log = files, log
        self._statuses: dict[str, Mapping[str, str]] = {}

    def units(self, arm: ArmKey | None = None) -> list[Unit]:
        """The units that count and whose files are all there, of one arm or of all, in the order of their adding."""
        units = [unit for unit in self._log.state().units.values() if arm in (None, unit.arm)]
        names = [name for unit in units for name in unit.files.values()]
        there = self._files.present(names)
        return [unit for unit in units if there.issuperset(unit.files.values())]

    @property
    def whole(self) -> bool:
        """Whether every file is there that the log counts."""
        return len(self.units()) == len(self._log.state().units)

    def paths(
        self, table: str, arm: ArmKey | None = None, *, only: str | None = None, but: str | None = None
    ) -> list[str]:
        """Local paths of the parts of a table that count, in the order of their adding.

        Args:
            table: One of :data:`.PARTED`.
            arm: Only those of one arm.
            only: Only those of one estimator.
            but: Only those of other estimators.
        """

        def wanted(unit: Unit) -> bool:
            name = unit.arm.estimator
            return table in unit.files and only in (None, name) and name != but

        for _ in range(5):  # another run's compaction may have taken an object away since the log was read
            paths = [self._files.get(unit.files[table]) for unit in self.units(arm) if wanted(unit)]
            if None not in paths:
                return [str(path) for path in paths]
        raise InputError(
            self._files.url, f"parts of {table} that vanish while they are read", "a store that nobody deletes"
        )

    def statuses(self, unit: Unit) -> Mapping[str, str]:
        """``done`` or ``failed`` for each probe that a unit holds the outcome of."""
        if unit.outcomes is not None:
            return unit.outcomes
        if unit.unit_id not in self._statuses:
            path = self._files.get(unit.files["outcomes"]) if "outcomes" in unit.files else None
            rows = pq.read_table(path, columns=["probe_id", "status"], partitioning=cast("Any", None)) if path else None
            self._statuses[unit.unit_id] = _by_probe(rows) if rows else {}
        return self._statuses[unit.unit_id]

    def add(self, arm: ArmKey, tables: Mapping[str, pa.Table], *, since: int = -1) -> int:
        """Commits what one block computed, all of it or nothing.

        Rows that another run has written in the meantime are left out, so no cell is ever there twice.

        Args:
            arm: The arm.
            tables: Those of :data:`.PARTED` that it has, without the columns that :class:`.ArmKey` holds.
            since: :attr:`.CellBlock.since`: older entries hold none of these cells.

        Returns:
            Cells that were added.
        """
        added = 0

        def decide(state: LogState) -> Change | None:
            nonlocal added
            there = {unit.unit_id for unit in self.units(arm)}
            mine = [unit for unit in state.units.values() if unit.arm == arm]
            lost = frozenset(unit.unit_id for unit in mine if unit.unit_id not in there)
            left = self.new_rows([unit for unit in mine if unit.unit_id in there], tables, since)
            added = left["influence"].num_rows
            if not any(table.num_rows for table in left.values()):
                return None
            return Change((self._write_unit(arm, left),), lost)

        self._log.commit(decide)
        return added

    def new_rows(self, units: list[Unit], tables: Mapping[str, pa.Table], since: int) -> dict[str, pa.Table]:
        """The rows of a block that no unit holds: cells by their key, outcomes where none is at least as good.

        Args:
            units: Of one arm.
            tables: As :meth:`add` takes them.
            since: Units of this entry of the log and earlier ones hold none of the cells.
        """
        influence, outcomes, layers, ablations = (tables.get(name, TABLES[name].empty_table()) for name in PARTED)
        probes = {probe for table in (influence, ablations) for probe in table["probe_id"].unique().to_pylist()}
        known: dict[str, str] = {}
        for unit in units:
            statuses = self.statuses(unit)
            known |= {p: status for p, status in statuses.items() if status != "known" and known.get(p) != "done"}
            if unit.version > since and "influence" in unit.files and (unit.outcomes is None or probes & set(statuses)):
                influence = _without(influence, self._files.get(unit.files["influence"]), probes)
            if unit.version > since and "restorations" in unit.files:
                ablations = _without(ablations, self._files.get(unit.files["restorations"]), probes)
        stale = [probe for probe, status in _by_probe(outcomes).items() if known.get(probe) in ("done", status)]
        failed = [probe for probe, status in _by_probe(outcomes).items() if status == "failed"]
        return {
            "influence": influence,
            "outcomes": outcomes.filter(~pc.field("probe_id").isin(_set(stale))),
            "layer_updates": layers.filter(~pc.field("probe_id").isin(_set([*stale, *failed]))),
            "restorations": ablations,
        }

    def write(self, arm: ArmKey, name: str, table: pa.Table) -> str:
        """Writes a part of a table, sorted, under its checksum; it counts once the log names it.

        Args:
            arm: The arm.
            name: One of :data:`.PARTED`.
            table: Its rows, without the columns that :class:`.ArmKey` holds.

        Returns:
            The file's name.
        """
        keys = [column for column in ("probe_id", "query_id", "parameter", "place") if column in table.schema.names]
        data = table_bytes(_stamped(table.take(_order(table, keys)), name, arm))
        file = f"{name}/base={arm.base}/estimator={arm.estimator}/{bytes_digest(data)}.parquet"
        self._files.put(file, data)
        return file

    def _write_unit(self, arm: ArmKey, tables: Mapping[str, pa.Table]) -> Unit:
        files: dict[str, str] = {}
        for name in PARTED:
            if tables[name].num_rows:
                files[name] = self.write(arm, name, tables[name])
        # Every probe of the unit is among the outcomes, so that a later writer knows which units to look into.
        seen = {probe: "known" for probe in tables["influence"]["probe_id"].unique().to_pylist()}
        return Unit(arm, files, tables["influence"].num_rows, {**seen, **_by_probe(tables["outcomes"])})


def _by_probe(outcomes: pa.Table) -> dict[str, str]:
    pairs = zip(outcomes["probe_id"].to_pylist(), outcomes["status"].to_pylist(), strict=True)
    return dict(sorted(pairs, key=lambda pair: pair[1], reverse=True))  # where there are both, done outweighs failed


def _without(rows: pa.Table, path: Path | None, probes: set[str]) -> pa.Table:
    """Rows whose cell is not in a part."""
    if path is None or not rows.num_rows:
        return rows
    keep = pc.field("probe_id").isin(list(probes))
    there = pq.read_table(path, columns=list(CELL), filters=keep, partitioning=cast("Any", None))
    columns = rows.schema.names
    return rows.join(there, list(CELL), join_type="left anti").select(columns) if there.num_rows else rows


def _order(table: pa.Table, columns: list[str]) -> npt.NDArray[np.int64]:
    """Row numbers in ascending order of columns of strings."""
    place = np.zeros(table.num_rows, np.int64)
    for name in columns:
        coded = table[name].combine_chunks().dictionary_encode()
        words = coded.dictionary.to_numpy(zero_copy_only=False)
        rank = np.empty(len(words), np.int64)
        rank[np.argsort(words)] = np.arange(len(words))
        place = place * len(words) + rank[coded.indices.to_numpy()]
    return np.argsort(place, kind="stable")


def _set(values: list[str]) -> pa.Array:
    return pa.array(values, pa.string())


def _stamped(table: pa.Table, name: str, arm: ArmKey) -> pa.Table:
    """Adds the arm's columns. Base and estimator are in the folder's name too, so that tools can skip files."""
    schema = TABLES[name]
    for column, value in vars(arm).items():
        if column in schema.names:
            field = schema.field(column)
            table = table.append_column(field, pa.repeat(pa.scalar(value, field.type), table.num_rows))
    return table.select(schema.names)
