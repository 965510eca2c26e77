"""Curations: what each part of a spec wants, written whole, and read back as samples and probes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from einfluence.errors import InputError
from einfluence.keys import content_hash
from einfluence.samples import TRAINED, Curated, ProbeSamples, Sample
from einfluence.store.files import Files, bytes_digest, json_bytes, read_json, table_bytes
from einfluence.training_set import Members

CURATED = ("samples", "probes", "probe_members", "relations", "distances")


NotedArm = tuple[str, str] | tuple[str, str, int, str]
"""Base and recipe of an arm; where some of its cells are measured, the groups of queries and its control's recipe."""


class Curations:
    """The curations of a store, and which of them each study uses now.

    Args:
        files: The store's files.
    """

    def __init__(self, files: Files) -> None:
        self._files = files

    def all(self) -> list[Path]:
        """Folders of all curations that are whole, by name."""
        return sorted(path.parent for path in (self._files.root / "curations").glob("*/done.json"))

    def current(self) -> list[Path]:
        """Folders of the curations that the latest run of each study used, latest first."""
        notes = self._notes()
        notes.sort(key=lambda note: (note["order"], note["study"]), reverse=True)
        found = (self.get(note["curation"]) for note in notes)
        return list(dict.fromkeys(folder for folder in found if folder is not None))

    def get(self, key: str) -> Path | None:
        """The folder of a curation, or None when it is not there or not whole."""
        folder = self._files.root / "curations" / key
        whole = all((folder / name).is_file() for name in ("done.json", *(f"{name}.parquet" for name in CURATED)))
        return folder if whole else None

    def add(self, key: str, curated: Curated, about: Mapping[str, Any]) -> Path:
        """Writes a curation; ``done.json`` goes last and holds the checksums, so a folder that has it is whole."""
        folder = f"curations/{key}"
        digests: dict[str, str] = {}
        for name in (*CURATED, "report"):
            data = table_bytes(getattr(curated, name))
            digests[name] = bytes_digest(data)
            self._files.put(f"{folder}/{name}.parquet", data)
        self._files.put(f"{folder}/done.json", json_bytes({**about, "checksums": digests}))
        return self._files.root / folder

    def arms(self) -> list[tuple[str, str | None, str | None, int | None, str | None]]:
        """(curation, base, recipe, groups, control) of each arm of each study's latest run.

        Base and recipe are None where a note does not say which; the rest where all cells are measured.
        """
        found: dict[tuple[str, str | None, str | None, int | None, str | None], None] = {}
        for note in self._notes():
            for arm in note.get("arms", [(None, None)]):
                base, recipe, groups, control = (*arm, None, None)[:4]
                found[note["curation"], base, recipe, groups, control] = None
        return list(found)

    def _notes(self) -> list[dict[str, Any]]:
        return [read_json(path) for path in (self._files.root / "studies").glob("*.json")]

    def use(self, study: str, curation: str, order: int, arms: Sequence[NotedArm] = ()) -> None:
        """Makes a curation the current one of a study (spec and part), and notes the arms.

        Samples and probes of a superseded curation stay, so that every number can still be traced; its relations are
        deleted when the store is tidied and nobody can be reading them any more.
        """
        name = f"studies/{content_hash(study)}.json"
        path = self._files.root / name
        old = read_json(path) if path.is_file() else {}
        note = {"study": study, "curation": curation, **({"arms": sorted(map(list, set(arms)))} if arms else {})}
        if {**old, "order": None} == {**note, "order": None}:
            return
        for table in ("relations", "distances") if old and old["curation"] != curation else ():
            self._files.touch(f"curations/{old['curation']}/{table}.parquet")
        self._files.put(name, json_bytes({**note, "order": order}))


Curation = tuple[dict[str, Sample], dict[str, ProbeSamples]]  # samples by sample_id; those of each probe by probe_id


def curated_rows(folder: Path) -> Curation:
    """A curation's samples by sample_id, and those of each probe by probe_id."""
    rows = pq.read_table(folder / "samples.parquet")
    samples = {sample.sample_id: sample for sample in sample_rows(rows)}
    members: dict[str, list[Sample]] = {}
    for row in pq.read_table(folder / "probe_members.parquet").sort_by("position").to_pylist():
        members.setdefault(row["probe_id"], []).append(samples[row["sample_id"]])
    kinds = pq.read_table(folder / "probes.parquet", columns=["probe_id", "kind"]).to_pylist()
    sequences = {row["probe_id"] for row in kinds if row["kind"] == "sequence"}
    return samples, {name: ProbeSamples(tuple(some), name in sequences) for name, some in members.items()}


def probe_order(folder: Path) -> list[str]:
    """A curation's probes by probe_id, in its own order."""
    return pq.read_table(folder / "probes.parquet", columns=["probe_id"])["probe_id"].to_pylist()


@lru_cache(maxsize=4)
def set_members(folder: Path) -> Members:
    """The samples of a curation's probes as one training set: those that state something, single or in groups.

    Controls, noisy versions and sequences are ways of training on something alone, and no part of it. Read once: a
    curation's folder is named by its content.
    """
    probes, members = (pq.read_table(folder / f"{name}.parquet") for name in ("probes", "probe_members"))
    return members_of(probes, members, read_json(folder / "done.json").get("later", ()))


def set_queries(folder: Path) -> tuple[str, ...]:
    """The queries of all probes of a curation that are in its training set."""
    of_these = pc.field("probe_id").isin(list(set_members(folder).probes))
    rows = pq.read_table(folder / "relations.parquet", columns=["query_id"], filters=of_these)
    return tuple(rows["query_id"].unique().to_pylist())


def sample_names(folder: Path) -> dict[str, str]:
    """The names of all samples of a curation, by sample_id."""
    rows = pq.read_table(folder / "samples.parquet", columns=["sample_id", "name"]).to_pylist()
    return {row["sample_id"]: row["name"] for row in rows}


def members_of(probes: pa.Table, probe_members: pa.Table, later: Sequence[str] = ()) -> Members:
    """As :func:`set_members`, of the tables of a curation and the samples of a second stage."""
    kinds = probes.select(["probe_id", "kind"]).to_pylist()
    members: dict[str, list[str]] = {row["probe_id"]: [] for row in kinds if row["kind"] in TRAINED}
    for row in probe_members.sort_by("position").to_pylist():
        members.get(row["probe_id"], []).append(row["sample_id"])
    return Members.of(members, later)


def sample_rows(table: pa.Table) -> Iterator[Sample]:
    """The samples of a ``samples`` table.

    Raises:
        InputError: If one is not what its id says.
    """
    for row in table.to_pylist():
        image = row.pop("pixels"), row.pop("shape")
        sample_id, modality = row.pop("sample_id"), row.pop("modality")
        pixels = None if image[0] is None else np.array(image[0], np.float32).reshape(image[1])
        # Curations made before these columns were added have none of them.
        row["join"], row["objective"] = row.pop("gap", None), row.pop("objective", None) or ""
        row["inputs"] = json.loads(row.pop("inputs", None) or "{}")
        fields: dict[str, Any] = {**row, "prompt": row["prompt"] or "", "target": row["target"] or ""}
        sample = Sample(**fields, pixels=pixels, unreadable=modality == "image" and pixels is None)
        if sample.sample_id != sample_id:
            raise InputError(
                "the store's samples", f"another content under {sample_id}", "what its hash says", "delete it"
            )
        yield sample
