"""The store: Parquet tables under one root, which are the cache as well.

A cell is new when nothing in the table has its key (base, estimator, recipe, probe, query, seed, engine version).
Every key is a content hash, so the name of a file, the order of lines or the size of a shard make no cell new.
A part of the table is written once, whole, and never changed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from einfluence.errors import InputError
from einfluence.keys import content_hash
from einfluence.samples import Curated
from einfluence.store.files import locked, write_json, write_table, write_whole
from einfluence.store.schema import STORE_VERSION, TABLES

if TYPE_CHECKING:
    import duckdb

CURATED = ("samples", "probes", "probe_members", "relations", "distances")
CELL = ("probe_id", "query_id")


@dataclass(frozen=True)
class ArmKey:
    """One experimental arm of the table: everything of a cell's key but probe and query."""

    base: str
    estimator: str
    recipe: str
    seed: int
    engine_version: str


@dataclass(frozen=True)
class Block:
    """Probes that lack the same queries: what one engine call computes."""

    probe_ids: tuple[str, ...]
    query_ids: tuple[str, ...]

    @property
    def cells(self) -> int:
        """Number of missing cells."""
        return len(self.probe_ids) * len(self.query_ids)


class Store:
    """A store under a local folder.

    Args:
        root: The folder; made when first written to.

    Raises:
        InputError: When the folder holds a store of another version, or is no folder.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser().absolute()
        if self.root.exists() and not self.root.is_dir():
            raise InputError("--store", f"{self.root}, which is a file", "a folder")
        marker = self.root / "einfluence.json"
        if marker.is_file():
            found = json.loads(marker.read_text()).get("store_version")
            if found != STORE_VERSION:
                fix = "use the einfluence that wrote it, or another --store"
                raise InputError(str(self.root), f"a store of version {found}", f"version {STORE_VERSION}", fix)

    # Reading ------------------------------------------------------------------------------------------------------

    @property
    def exists(self) -> bool:
        """Whether anything was ever written here."""
        return (self.root / "einfluence.json").is_file()

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
        notes = [json.loads(path.read_text()) for path in (self.root / "studies").glob("*.json")]
        notes.sort(key=lambda note: (note["order"], note["study"]), reverse=True)
        folders = [self.root / "curations" / note["curation"] for note in notes]
        return [folder for folder in dict.fromkeys(folders) if (folder / "done.json").is_file()]

    def curation(self, key: str) -> Path | None:
        """The folder of a curation, or None when it is not there or not whole."""
        folder = self.root / "curations" / key
        return folder if (folder / "done.json").is_file() else None

    def runs(self) -> list[dict[str, Any]]:
        """Notes of the runs on this store, latest last."""
        return [json.loads(path.read_text()) for path in sorted((self.root / "runs").glob("*.json"))]

    def kept_delta(self, arm: ArmKey, probe_id: str) -> Path | None:
        """The file of a probe's tuned parameters, where it was kept."""
        path = self._delta(arm, probe_id)
        return path if path.is_file() else None

    # Writing ------------------------------------------------------------------------------------------------------

    def open_for_writing(self) -> None:
        """Makes the folder a store.

        Raises:
            InputError: When it cannot be written.
        """
        if not self.exists:
            write_json(self.root, self.root / "einfluence.json", {"store_version": STORE_VERSION})

    def add_curation(self, key: str, curated: Curated, about: Mapping[str, Any]) -> Path:
        """Writes a curation; ``done.json`` goes last, so a folder that has it is whole."""
        folder = self.root / "curations" / key
        for name in (*CURATED, "report"):
            write_table(self.root, folder / f"{name}.parquet", getattr(curated, name))
        write_json(self.root, folder / "done.json", dict(about))
        return folder

    def point_study(self, study: str, curation: str, order: int) -> None:
        """Makes a curation the current one of a study (spec and part); what it supersedes loses its relations.

        Samples and probes of a superseded curation stay, so that every number can still be traced.
        """
        path = self.root / "studies" / f"{content_hash(study)}.json"
        old = json.loads(path.read_text())["curation"] if path.is_file() else curation
        if path.is_file() and old == curation:
            return
        write_json(self.root, path, {"study": study, "curation": curation, "order": order})
        still_used = {folder.name for folder in self.current_curations()}
        if old not in still_used:
            for name in ("relations", "distances"):
                (self.root / "curations" / old / f"{name}.parquet").unlink(missing_ok=True)

    def add_rows(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Writes rows of ``bases`` or ``recipes``, one file each, named by their id; those present are left alone."""
        for row in rows:
            path = self.root / name / f"{row[TABLES[name].names[0]]}.parquet"
            if not path.is_file():
                write_table(self.root, path, pa.Table.from_pylist([row], TABLES[name]))

    def add_part(self, arm: ArmKey, tables: Mapping[str, pa.Table]) -> None:
        """Commits what one block computed: outcomes and layer updates first, the influence rows last.

        Rows that another run has written in the meantime are left out, so no cell is ever there twice.

        Args:
            arm: The arm.
            tables: ``influence``, ``outcomes``, ``layer_updates``, without the columns that :class:`ArmKey` holds.
        """
        influence = tables["influence"]
        cells = (influence["probe_id"].to_pylist(), influence["query_id"].to_pylist()) if influence.num_rows else ()
        part = content_hash((tuple(sorted(vars(arm).items())), cells, tables["outcomes"]["probe_id"].to_pylist()))
        for name in ("layer_updates", "outcomes"):
            if tables[name].num_rows:
                write_table(self.root, self._part(name, arm, part), _stamped(tables[name], name, arm))
        if not influence.num_rows:
            return
        with locked(self.root):
            rows = _stamped(influence, "influence", arm)
            rows = self._without_present(arm, rows)
            if rows.num_rows:
                write_table(
                    self.root, self._part("influence", arm, part), rows.sort_by([(c, "ascending") for c in CELL])
                )

    def keep_delta(self, arm: ArmKey, probe_id: str, delta: Mapping[str, Any], budget: int) -> bool:
        """Keeps a probe's tuned parameters (safetensors) while the whole stays within ``budget`` bytes."""
        from safetensors.torch import save_file

        size = sum(tensor.numel() * tensor.element_size() for tensor in delta.values())
        used = sum(path.stat().st_size for path in (self.root / "deltas").glob("**/*.safetensors"))
        if used + size > budget:
            return False
        whole = {name: tensor.contiguous() for name, tensor in delta.items()}
        write_whole(self.root, self._delta(arm, probe_id), lambda path: save_file(whole, path))
        return True

    def write_desiderata(self, table: pa.Table) -> None:
        """Replaces the scorecard."""
        write_table(self.root, self.root / "desiderata" / "current.parquet", table)

    def write_run(self, note: Mapping[str, Any]) -> None:
        """Adds the note of a run; ``note["started"]`` (UTC, ISO 8601) names its file."""
        name = f"{note['started'].replace(':', '')}-{content_hash(json.dumps(dict(note), sort_keys=True))[:6]}.json"
        write_json(self.root, self.root / "runs" / name, dict(note))

    def clear_temporary(self) -> None:
        """Removes what killed runs left unfinished; files of a run that goes on are younger than a day."""
        import time

        folder = self.root / ".tmp"
        for path in folder.glob("*") if folder.is_dir() else ():
            if time.time() - path.stat().st_mtime > 86_400:
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)

    # Planning -----------------------------------------------------------------------------------------------------

    def missing(self, curation: Path, arm: ArmKey, shard: int) -> list[Block]:
        """The cells that a curation wants of an arm and the table lacks, in blocks of at most ``shard`` probes.

        Blocks are cut along the curation's own list of probes, not along what is missing, so a run that was killed
        goes on with the very blocks that an uninterrupted one would have computed.

        Args:
            curation: Folder from :meth:`curation`.
            arm: The arm.
            shard: Most probes in a block.
        """
        from einfluence.store.plan import missing_queries

        with self.connect() as connection:
            by_probe = missing_queries(connection, curation, arm)
        order = pq.read_table(curation / "probes.parquet", columns=["probe_id"])["probe_id"].to_pylist()
        blocks: list[Block] = []
        for start in range(0, len(order), shard):
            groups: dict[tuple[str, ...], list[str]] = {}
            for probe_id in order[start : start + shard]:
                if probe_id in by_probe:
                    groups.setdefault(by_probe[probe_id], []).append(probe_id)
            blocks += [Block(tuple(probes), queries) for queries, probes in groups.items()]
        return blocks

    def _without_present(self, arm: ArmKey, rows: pa.Table) -> pa.Table:
        folder = self._part("influence", arm, "x").parent
        probes = set(rows["probe_id"].unique().to_pylist())
        for path in folder.glob("*.parquet") if folder.is_dir() else ():
            there = _rows_of(path, arm, probes)
            if there.num_rows:
                rows = rows.join(there.select(list(CELL)), list(CELL), join_type="left anti")
        return rows.select(TABLES["influence"].names) if rows.num_rows else rows

    def _part(self, name: str, arm: ArmKey, part: str) -> Path:
        return self.root / name / f"base={arm.base}" / f"estimator={arm.estimator}" / f"{part}.parquet"

    def _delta(self, arm: ArmKey, probe_id: str) -> Path:
        folder = self.root / "deltas" / arm.base / f"{arm.recipe}-{arm.seed}-{arm.engine_version}"
        return folder / f"{probe_id}.safetensors"


def _rows_of(path: Path, arm: ArmKey, probes: Iterable[str]) -> pa.Table:
    keep = (
        (pc.field("recipe") == arm.recipe)
        & (pc.field("seed") == arm.seed)
        & (pc.field("engine_version") == arm.engine_version)
        & pc.field("probe_id").isin(list(probes))
    )
    return pq.read_table(path, columns=list(CELL), filters=keep, partitioning=cast("Any", None))


def _stamped(table: pa.Table, name: str, arm: ArmKey) -> pa.Table:
    """Adds the arm's columns. Base and estimator stand in the folder's name too, so that tools can skip files."""
    schema = TABLES[name]
    for column, value in vars(arm).items():
        if column in schema.names:
            field = schema.field(column)
            table = table.append_column(field, pa.repeat(pa.scalar(value, field.type), table.num_rows))
    return table.select(schema.names)
