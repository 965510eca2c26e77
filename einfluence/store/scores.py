"""Scores: the tables that scoring writes, which count together.

Each table is a file under the checksum of its bytes; the note, written last, names those of one scoring. A reader or a
killed run sees the tables of one scoring, never one table of this and another of the last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa

from einfluence.store.files import Files, bytes_digest, json_bytes, read_json, table_bytes
from einfluence.store.schema import SCORED

SCORES_NOTE = "scores.json"


class Scores:
    """The scored tables of a store.

    Args:
        files: The store's files.
    """

    def __init__(self, files: Files) -> None:
        self._files = files

    def write(self, tables: Mapping[str, pa.Table]) -> None:
        """Replaces all of :data:`.SCORED` in one step.

        Those replaced stay for a while (:func:`.sweep`), for queries that have begun.
        """
        before = scored_files(self._files)
        names: dict[str, str] = {}
        for table in SCORED:
            data = table_bytes(tables[table])
            names[table] = f"{table}/{bytes_digest(data)}.parquet"
            self._files.put(names[table], data)
        for name in set(before.values()) - set(names.values()):
            self._files.touch(name)
        self._files.put(SCORES_NOTE, json_bytes(names))

    def paths(self) -> dict[str, Path]:
        """The file of each table of :data:`.SCORED`; nothing where nothing was scored, or one of them is lost."""
        paths = {table: self._files.get(name) for table, name in scored_files(self._files).items()}
        found = {table: path for table, path in paths.items() if path is not None}
        return found if len(found) == len(paths) else {}


def scored_files(files: Files) -> dict[str, str]:
    """The files of the last scoring by their tables; without a note, those of versions that wrote none.

    Raises:
        InputError: When the note cannot be read.
    """
    note = files.get(SCORES_NOTE)
    if note is not None:
        found = read_json(note)
        return {table: str(found[table]) for table in SCORED if table in found}
    old = {table: f"{table}/current.parquet" for table in SCORED}
    there = files.present(list(old.values()))
    return {table: name for table, name in old.items() if name in there}


def unscored(files: Files) -> Iterator[str]:
    """Files of scored tables that are not of the last scoring."""
    counted = set(scored_files(files).values())
    yield from (name for table in SCORED for name in files.names(table) if name not in counted)
