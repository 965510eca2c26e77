"""The store: Parquet tables under one root, which are the cache as well.

A cell is new when nothing in the table has its key (base, estimator, recipe, probe, query, seed, engine version).
Every key is a content hash, so the name of a file, the order of lines or the size of a shard make no cell new.
A part of the table is written once, whole, and never changed; its name is the checksum of its bytes. The log
(:mod:`einfluence.store.log`) says which parts count.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from einfluence.errors import InputError
from einfluence.keys import content_hash
from einfluence.samples import Curated
from einfluence.store.files import MARKER, bytes_digest, files_at, json_bytes, read_json, table_bytes
from einfluence.store.log import ArmKey, Change, Log, State, Unit
from einfluence.store.marker import check_version, write_marker
from einfluence.store.missing import AblationBlock, CellBlock, missing_ablations, missing_cells
from einfluence.store.schema import PARTED, TABLES

if TYPE_CHECKING:
    import duckdb

CURATED = ("samples", "probes", "probe_members", "relations", "distances")
CELL = ("probe_id", "query_id")

__all__ = ["AblationBlock", "ArmKey", "CellBlock", "Store"]


class Store:
    """A store in a local folder or, by URL, in an object store.

    Args:
        root: The folder (made when first written to), or a URL such as ``s3://bucket/prefix``.
        check: Refuse a store of another version; :func:`einfluence.store.verify.verify` looks at any.

    Raises:
        InputError: When the folder holds a store of another version, or is no folder.
    """

    def __init__(self, root: str | Path, *, check: bool = True) -> None:
        self.files = files_at(root)
        self.files.pull()
        self.root, self.url = self.files.root, self.files.url
        self.log = Log(self.files)
        self._statuses: dict[str, Mapping[str, str]] = {}
        if check:
            check_version(self.files)

    # Reading ------------------------------------------------------------------------------------------------------

    @property
    def exists(self) -> bool:
        """Whether anything was ever written here."""
        return (self.root / MARKER).is_file()

    def connect(self, *, sealed: bool = False) -> duckdb.DuckDBPyConnection:
        """An in-memory DuckDB with one view for each table (see :mod:`einfluence.store.views`)."""
        from einfluence.store.views import connect

        return connect(self, sealed=sealed)

    def influence(self) -> duckdb.DuckDBPyRelation:
        """The influence table as a DuckDB relation; ``.arrow()``, ``.df()`` and ``.filter(..)`` go on from there."""
        return self.connect().view("influence")

    def curations(self) -> list[Path]:
        """Folders of all curations that are whole, by name."""
        return sorted(path.parent for path in (self.root / "curations").glob("*/done.json"))

    def current_curations(self) -> list[Path]:
        """Folders of the curations that the latest run of each study used, latest first."""
        notes = [read_json(path) for path in (self.root / "studies").glob("*.json")]
        notes.sort(key=lambda note: (note["order"], note["study"]), reverse=True)
        found = (self.curation(note["curation"]) for note in notes)
        return list(dict.fromkeys(folder for folder in found if folder is not None))

    def curation(self, key: str) -> Path | None:
        """The folder of a curation, or None when it is not there or not whole."""
        folder = self.root / "curations" / key
        whole = all((folder / name).is_file() for name in ("done.json", *(f"{name}.parquet" for name in CURATED)))
        return folder if whole else None

    def runs(self) -> list[dict[str, Any]]:
        """Notes of the runs on this store, latest last."""
        return [read_json(path) for path in sorted((self.root / "runs").glob("*.json"))]

    def units(self, arm: ArmKey | None = None) -> list[Unit]:
        """The units that count and whose files are all there, of one arm or of all, in the order of their adding."""
        units = [unit for unit in self.log.state().units.values() if arm in (None, unit.arm)]
        names = [name for unit in units for name in unit.files.values()]
        there = self.files.present(names)
        return [unit for unit in units if there.issuperset(unit.files.values())]

    @property
    def whole(self) -> bool:
        """Whether every file is there that the log counts."""
        return len(self.units()) == len(self.log.state().units)

    def part_paths(self, table: str, arm: ArmKey | None = None) -> list[str]:
        """Local paths of the parts of a table that count, in the order of their adding."""
        for _ in range(5):  # another run's compaction may have taken an object away since the log was read
            paths = [self.files.get(unit.files[table]) for unit in self.units(arm) if table in unit.files]
            if None not in paths:
                return [str(path) for path in paths]
        raise InputError(self.url, f"parts of {table} that vanish while they are read", "a store that nobody deletes")

    def kept_deltas(self, arm: ArmKey, probe_ids: Iterable[str]) -> dict[str, Path]:
        """The files of probes' tuned parameters, of those that were kept and whose outcome is known."""
        folder = self.deltas_folder(arm)
        wanted = set(probe_ids)
        names = {name.rsplit("/", 1)[1].split(".", 1)[0]: name for name in self.files.names(folder)}
        names = {probe: name for probe, name in names.items() if probe in wanted}
        if not names:
            return {}
        done = {probe for unit in self.units(arm) for probe, status in self.statuses(unit).items() if status == "done"}
        paths = {probe: self.files.get(name) for probe, name in names.items() if probe in done}
        return {probe: path for probe, path in paths.items() if path is not None}

    def statuses(self, unit: Unit) -> Mapping[str, str]:
        """``done`` or ``failed`` for each probe that a unit holds the outcome of."""
        if unit.outcomes is not None:
            return unit.outcomes
        if unit.unit_id not in self._statuses:
            path = self.files.get(unit.files["outcomes"]) if "outcomes" in unit.files else None
            rows = pq.read_table(path, columns=["probe_id", "status"], partitioning=cast("Any", None)) if path else None
            self._statuses[unit.unit_id] = _by_probe(rows) if rows else {}
        return self._statuses[unit.unit_id]

    # Writing ------------------------------------------------------------------------------------------------------

    def open_for_writing(self) -> None:
        """Makes the folder a store.

        Raises:
            InputError: When it cannot be written, or two writers could not be told apart in it, or it is of another
                version.
        """
        write_marker(self.files)
        check_version(self.files)
        if self.files.put(MARKER, (self.root / MARKER).read_bytes(), new=True):
            fix = "use one that honours `If-None-Match: *` (AWS S3, MinIO, R2), or a folder"
            raise InputError(self.url, "a place where a name can be taken twice", "conditional writes", fix)

    def add_curation(self, key: str, curated: Curated, about: Mapping[str, Any]) -> Path:
        """Writes a curation; ``done.json`` goes last and holds the checksums, so a folder that has it is whole."""
        folder = f"curations/{key}"
        digests: dict[str, str] = {}
        for name in (*CURATED, "report"):
            data = table_bytes(getattr(curated, name))
            digests[name] = bytes_digest(data)
            self.files.put(f"{folder}/{name}.parquet", data)
        self.files.put(f"{folder}/done.json", json_bytes({**about, "checksums": digests}))
        return self.root / folder

    def point_study(self, study: str, curation: str, order: int) -> None:
        """Makes a curation the current one of a study (spec and part).

        Samples and probes of a superseded curation stay, so that every number can still be traced; its relations go
        when the store is tidied and nobody can be reading them any more.
        """
        name = f"studies/{content_hash(study)}.json"
        path = self.root / name
        old = read_json(path)["curation"] if path.is_file() else None
        if old == curation:
            return
        for table in ("relations", "distances") if old else ():
            self.files.touch(f"curations/{old}/{table}.parquet")
        self.files.put(name, json_bytes({"study": study, "curation": curation, "order": order}))

    def add_rows(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Writes rows of ``bases`` or ``recipes``, one file each, named by their id; those present are left alone."""
        for row in rows:
            key = row[TABLES[name].names[0]]
            if next((self.root / name).glob(f"{key}.*.parquet"), None) is None:
                data = table_bytes(pa.Table.from_pylist([row], TABLES[name]))
                self.files.put(f"{name}/{key}.{bytes_digest(data)}.parquet", data)

    def add_part(self, arm: ArmKey, tables: Mapping[str, pa.Table], *, since: int = -1) -> int:
        """Commits what one block computed, all of it or nothing.

        Rows that another run has written in the meantime are left out, so no cell is ever there twice.

        Args:
            arm: The arm.
            tables: Those of :data:`PARTED` that it has, without the columns that :class:`ArmKey` holds.
            since: :attr:`.CellBlock.since`: older entries hold none of these cells.

        Returns:
            Cells that were added.
        """
        added = 0

        def decide(state: State) -> Change | None:
            nonlocal added
            there = {unit.unit_id for unit in self.units(arm)}
            mine = [unit for unit in state.units.values() if unit.arm == arm]
            lost = frozenset(unit.unit_id for unit in mine if unit.unit_id not in there)
            left = self.new_rows([unit for unit in mine if unit.unit_id in there], tables, since)
            added = left["influence"].num_rows
            if not any(table.num_rows for table in left.values()):
                return None
            return Change((self._write_unit(arm, left),), lost)

        self.log.commit(decide)
        return added

    def keep_deltas(self, arm: ArmKey, deltas: Mapping[str, Mapping[str, Any]], budget: int) -> int:
        """Keeps the tuned parameters of probes (safetensors) while the whole stays within ``budget`` bytes.

        To be called after :meth:`add_part`: a delta is used again only where its probe's outcome is in the store.

        Returns:
            How many of them are kept now.
        """
        from safetensors.torch import save

        if not deltas or not budget:
            return 0
        sizes, folder = self.files.sizes("deltas"), self.deltas_folder(arm)
        kept = {name.rsplit("/", 1)[1].split(".", 1)[0] for name in sizes if name.startswith(f"{folder}/")}
        used = sum(sizes.values())
        for probe_id, delta in deltas.items():
            size = sum(tensor.numel() * tensor.element_size() for tensor in delta.values())
            if probe_id in kept or used + size > budget:
                continue
            data = save({name: tensor.contiguous() for name, tensor in delta.items()})
            if used + len(data) > budget:
                continue
            self.files.put(f"{folder}/{probe_id}.{bytes_digest(data)}.safetensors", data)
            kept.add(probe_id)
            used += len(data)
        return len(kept.intersection(deltas))

    def write_desiderata(self, table: pa.Table) -> None:
        """Replaces the scorecard."""
        self.files.put("desiderata/current.parquet", table_bytes(table))

    def write_run(self, note: Mapping[str, Any]) -> None:
        """Adds the note of a run; ``note["started"]`` (UTC, ISO 8601) names its file."""
        name = f"{note['started'].replace(':', '')}-{content_hash(json.dumps(dict(note), sort_keys=True))[:6]}.json"
        self.files.put(f"runs/{name}", json_bytes(dict(note)))

    def publish(self, name: str) -> None:
        """Puts a file that was written under :attr:`root` into the object store, where the store is in one."""
        if self.url != str(self.root):
            self.files.put(name, (self.root / name).read_bytes())

    def tidy(self, *, grace: float = 3600.0) -> None:
        """Merges small parts and removes what nobody reads any more (see :mod:`einfluence.store.tidy`)."""
        from einfluence.store.tidy import tidy

        tidy(self, grace=grace)

    # Planning -----------------------------------------------------------------------------------------------------

    def missing(self, curation: Path, arm: ArmKey, size: int) -> list[CellBlock]:
        """The cells that a curation wants of an arm and the table lacks (:func:`.missing_cells`)."""
        since = self.log.state().version
        return missing_cells(curation, self.part_paths("influence", arm), size, since)

    def missing_ablations(self, curation: Path, arm: ArmKey, size: int, probes: int) -> tuple[int, list[AblationBlock]]:
        """The layer ablations that a curation wants of an arm, and those that the table lacks."""
        since = self.log.state().version
        return missing_ablations(curation, self.part_paths("restorations", arm), size, since, probes)

    def new_rows(self, units: list[Unit], tables: Mapping[str, pa.Table], since: int) -> dict[str, pa.Table]:
        """The rows of a block that no unit holds: cells by their key, outcomes where none is at least as good.

        Args:
            units: Of one arm.
            tables: As :meth:`add_part` takes them.
            since: Units of this entry of the log and earlier ones hold none of the cells.
        """
        influence, outcomes, layers, restorations = (tables.get(name, TABLES[name].empty_table()) for name in PARTED)
        probes = {probe for table in (influence, restorations) for probe in table["probe_id"].unique().to_pylist()}
        known: dict[str, str] = {}
        for unit in units:
            statuses = self.statuses(unit)
            known |= {p: status for p, status in statuses.items() if status != "known" and known.get(p) != "done"}
            if unit.version > since and "influence" in unit.files and (unit.outcomes is None or probes & set(statuses)):
                influence = _without(influence, self.files.get(unit.files["influence"]), probes)
            if unit.version > since and "restorations" in unit.files:
                restorations = _without(restorations, self.files.get(unit.files["restorations"]), probes)
        stale = [probe for probe, status in _by_probe(outcomes).items() if known.get(probe) in ("done", status)]
        failed = [probe for probe, status in _by_probe(outcomes).items() if status == "failed"]
        return {
            "influence": influence,
            "outcomes": outcomes.filter(~pc.field("probe_id").isin(_set(stale))),
            "layer_updates": layers.filter(~pc.field("probe_id").isin(_set([*stale, *failed]))),
            "restorations": restorations,
        }

    def _write_unit(self, arm: ArmKey, tables: Mapping[str, pa.Table]) -> Unit:
        files: dict[str, str] = {}
        for name in PARTED:
            if tables[name].num_rows:
                files[name] = self.write_part(arm, name, tables[name])
        # Every probe of the unit stands among the outcomes, so that a later writer knows which units to look into.
        seen = {probe: "known" for probe in tables["influence"]["probe_id"].unique().to_pylist()}
        return Unit(arm, files, tables["influence"].num_rows, {**seen, **_by_probe(tables["outcomes"])})

    def write_part(self, arm: ArmKey, name: str, table: pa.Table) -> str:
        """Writes a part of a table, sorted, under its checksum; it counts once the log names it.

        Args:
            arm: The arm.
            name: One of :data:`PARTED`.
            table: Its rows, without the columns that :class:`ArmKey` holds.

        Returns:
            The file's name.
        """
        keys = [column for column in ("probe_id", "query_id", "parameter", "place") if column in table.schema.names]
        data = table_bytes(_stamped(table.take(_order(table, keys)), name, arm))
        file = f"{name}/base={arm.base}/estimator={arm.estimator}/{bytes_digest(data)}.parquet"
        self.files.put(file, data)
        return file

    def deltas_folder(self, arm: ArmKey) -> str:
        """Where an arm's kept deltas are."""
        return f"deltas/{arm.base}/{arm.recipe}-{arm.seed}-{arm.engine_version}"


def _by_probe(outcomes: pa.Table) -> dict[str, str]:
    pairs = zip(outcomes["probe_id"].to_pylist(), outcomes["status"].to_pylist(), strict=True)
    return dict(sorted(pairs, key=lambda pair: pair[1], reverse=True))  # where both stand, done outweighs failed


def _without(rows: pa.Table, path: Path | None, probes: set[str]) -> pa.Table:
    """Rows whose cell does not stand in a part."""
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
    """Adds the arm's columns. Base and estimator stand in the folder's name too, so that tools can skip files."""
    schema = TABLES[name]
    for column, value in vars(arm).items():
        if column in schema.names:
            field = schema.field(column)
            table = table.append_column(field, pa.repeat(pa.scalar(value, field.type), table.num_rows))
    return table.select(schema.names)
