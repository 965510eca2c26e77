"""The store: Parquet tables under one root, which are the cache as well.

A cell is new when nothing in the table has its key (base, estimator, recipe, probe, query, seed, engine version).
Every key is a content hash, so the name of a file, the order of lines or the size of a shard make no cell new.
:class:`Store` is the facade of the modules beside it: parts (:mod:`.parts`) that count once the log (:mod:`.log`) names
them, curations, deltas, states, what is missing, and views to ask by.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from einfluence.errors import InputError
from einfluence.keys import content_hash
from einfluence.samples import Curated
from einfluence.store.curations import Curations, NotedArm, probe_order
from einfluence.store.deltas import Deltas
from einfluence.store.files import MARKER, bytes_digest, json_bytes, read_json, table_bytes
from einfluence.store.log import ArmKey, Log, Unit
from einfluence.store.marker import check_version, write_marker
from einfluence.store.mirror import files_at
from einfluence.store.missing import AblationBlock, CellBlock, missing_ablations, missing_cells
from einfluence.store.parts import Parts
from einfluence.store.sampling import SampledBlock, missing_sampled
from einfluence.store.schema import TABLES
from einfluence.store.scores import Scores
from einfluence.store.states import States
from einfluence.store.tidy import merge_small, sweep
from einfluence.store.views import connect

SCORES, FAILED = (
    (Path(__file__).parent / f"{name}.sql").read_text(encoding="utf-8")
    for name in ("scores_of_trainings", "failed_trainings")
)

__all__ = ["AblationBlock", "ArmKey", "CellBlock", "SampledBlock", "Store"]


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
        self.parts = Parts(self.files, self.log)
        self.deltas = Deltas(self.files, self.parts)
        self._curations, self._states, self._scores = Curations(self.files), States(self.files), Scores(self.files)
        if check:
            check_version(self.files)

    # Reading ------------------------------------------------------------------------------------------------------

    @property
    def exists(self) -> bool:
        """Whether anything was ever written here."""
        return (self.root / MARKER).is_file()

    def connect(self, *, sealed: bool = False) -> duckdb.DuckDBPyConnection:
        """An in-memory DuckDB with one view for each table (:func:`einfluence.store.views.connect`)."""
        return connect(self.root, self.parts, self._curations, self._scores, self._states, sealed=sealed)

    def influence(self) -> duckdb.DuckDBPyRelation:
        """The influence table as a DuckDB relation, for ``.filter(..)``, ``.arrow()``, ``.df()`` and the like."""
        return self.connect().view("influence")

    def curations(self) -> list[Path]:
        """Folders of all curations that are whole, by name."""
        return self._curations.all()

    def current_curations(self) -> list[Path]:
        """Folders of the curations that the latest run of each study used, latest first."""
        return self._curations.current()

    def curation(self, key: str) -> Path | None:
        """The folder of a curation, or None when it is not there or not whole."""
        return self._curations.get(key)

    def runs(self) -> list[dict[str, Any]]:
        """Notes of the runs on this store, latest last."""
        return [read_json(path) for path in sorted((self.root / "runs").glob("*.json"))]

    def units(self, arm: ArmKey | None = None) -> list[Unit]:
        """The units that count and whose files are all there, of one arm or of all, in the order of their adding."""
        return self.parts.units(arm)

    @property
    def whole(self) -> bool:
        """Whether every file is there that the log counts."""
        return self.parts.whole

    @property
    def scored(self) -> bool:
        """Whether the tables that scoring writes are there."""
        return bool(self._scores.paths())

    def part_paths(self, table: str, arm: ArmKey | None = None) -> list[str]:
        """Local paths of the parts of a table that count, in the order of their adding."""
        return self.parts.paths(table, arm)

    def kept_deltas(self, arm: ArmKey, probe_ids: Iterable[str]) -> dict[str, Path]:
        """The files of probes' tuned parameters, of those that were kept and whose outcome is known."""
        return self.deltas.kept(arm, probe_ids)

    def training_scores(self, arm: ArmKey, trainings: Sequence[str]) -> tuple[pa.Table, dict[str, str]]:
        """What trainings of a set say: rows of ``training_scores``, and the reasons of those that failed, by training.

        Args:
            arm: The arm of the trainings.
            trainings: Which of them.
        """
        given = {**vars(arm), "trainings": list(trainings)}
        del given["estimator"]
        with self.connect() as connection:
            scores, failed = (connection.sql(query, params=given).to_arrow_table() for query in (SCORES, FAILED))
        return scores, dict(zip(*(failed[name].to_pylist() for name in ("training", "reason")), strict=True))

    def state(self, state_id: str) -> Path | None:
        """The file (safetensors) of what an estimator fitted, or None when it is not there (:class:`.States`)."""
        return self._states.get(state_id)

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
        """Writes a curation, whole or not at all, and returns its folder."""
        return self._curations.add(key, curated, about)

    def point_study(self, study: str, curation: str, order: int, arms: Sequence[NotedArm] = ()) -> None:
        """Makes a curation the current one of a study (:meth:`.Curations.use`)."""
        self._curations.use(study, curation, order, arms)

    def add_rows(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Writes rows of ``bases`` or ``recipes``, one file each, named by their id; those present are left alone."""
        for row in rows:
            key = row[TABLES[name].names[0]]
            if next((self.root / name).glob(f"{key}.*.parquet"), None) is None:
                data = table_bytes(pa.Table.from_pylist([row], TABLES[name]))
                self.files.put(f"{name}/{key}.{bytes_digest(data)}.parquet", data)

    def add_definitions(self, tables: Mapping[str, pa.Table]) -> None:
        """Writes rows of the tables of :data:`einfluence.store.schema.DEFINED`, in files named by content."""
        for name, table in tables.items():
            if table.num_rows:
                data = table_bytes(table)
                self.files.put(f"{name}/{bytes_digest(data)}.parquet", data)

    def add_part(self, arm: ArmKey, tables: Mapping[str, pa.Table], *, since: int = -1) -> int:
        """Commits what one block computed, all or nothing; returns the number of new cells (:meth:`.Parts.add`)."""
        return self.parts.add(arm, tables, since=since)

    def keep_deltas(self, arm: ArmKey, deltas: Mapping[str, Mapping[str, Any]], budget: int) -> int:
        """Keeps tuned parameters within a budget of bytes, once the outcomes are written (:meth:`.Deltas.keep`)."""
        return self.deltas.keep(arm, deltas, budget)

    def state_about(self, state_id: str) -> dict[str, Any]:
        """What :meth:`add_state` was given to write about a state; nothing where there is none."""
        return self._states.about(state_id)

    def add_state(self, state_id: str, tensors: Mapping[str, Any], about: Mapping[str, Any]) -> Path:
        """Writes what an estimator fitted, named by the content hash of all that made it (:meth:`.States.add`)."""
        return self._states.add(state_id, tensors, about)

    def write_scores(self, tables: Mapping[str, pa.Table]) -> None:
        """Replaces the tables of :data:`einfluence.store.schema.SCORED`, all in one step (:meth:`.Scores.write`)."""
        self._scores.write(tables)

    def write_run(self, note: Mapping[str, Any]) -> None:
        """Adds the note of a run; ``note["started"]`` (UTC, ISO 8601) names its file."""
        name = f"{note['started'].replace(':', '')}-{content_hash(json.dumps(dict(note), sort_keys=True))[:6]}.json"
        self.files.put(f"runs/{name}", json_bytes(dict(note)))

    def publish(self, name: str) -> None:
        """Puts a file that was written under :attr:`root` into the object store, where the store is in one."""
        if self.url != str(self.root):
            self.files.put(name, (self.root / name).read_bytes())

    def tidy(self, *, grace: float = 3600.0) -> None:
        """Merges small parts, and deletes what nobody has read for ``grace`` seconds (:mod:`.tidy`)."""
        merge_small(self.files, self.log, self.parts)
        sweep(self.files, self.log, self._curations, grace=grace)

    # Planning -----------------------------------------------------------------------------------------------------

    def missing(self, curation: Path, arm: ArmKey, size: int, probes: Sequence[str] | None = None) -> list[CellBlock]:
        """The cells that a curation wants of an arm and the table lacks (:func:`.missing_cells`).

        Args:
            curation: The curation's folder.
            arm: The arm.
            size: Most probes in a block.
            probes: Only these, in this order; by default the curation's own.
        """
        since = self.log.state().version
        order = probe_order(curation) if probes is None else probes
        return missing_cells(order, curation / "relations.parquet", self.part_paths("influence", arm), size, since)

    def missing_ablations(self, curation: Path, arm: ArmKey, size: int, probes: int) -> tuple[int, list[AblationBlock]]:
        """The layer ablations that a curation wants of an arm, and those that the table lacks (:mod:`.missing`)."""
        since = self.log.state().version
        return missing_ablations(curation, self.part_paths("restorations", arm), size, since, probes)

    def missing_sampled(self, curation: Path, arm: ArmKey, size: int, groups: int) -> tuple[int, list[SampledBlock]]:
        """How many cells an arm wants that measures some of them, and those that are missing (:mod:`.sampling`)."""
        since = self.log.state().version
        return missing_sampled(curation, self.part_paths("influence", arm), size, since, groups)
