"""A user's table of samples: where it is, and its columns under the names that the part gives them."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from einfluence.curate.records import COLUMNS, INDEX, Record, check_ending
from einfluence.errors import InputError

if TYPE_CHECKING:
    from einfluence.curate.builder import Gates
    from einfluence.curate.sources.rows import Place

LEFT_OUT = "columns left out (`extra: drop`)"
_HUB = re.compile(r"(?P<id>[\w-][\w.-]*/[\w.-]+)(@(?P<revision>[^:@]+))?(:(?P<config>[^:]*))?(:(?P<split>[^:]*))?")


@dataclass(frozen=True)
class Table:
    """Rows of samples, wherever they are.

    Args:
        place: A file, a folder that `datasets` saved or that holds files, the files of one split, or a hub id
            ``org/name[@revision][:config][:split]``.
        fields: The columns that have another name in the file than here: theirs by ours.
        extra: Whether columns that nothing reads are refused or left out.
    """

    place: Place
    fields: Mapping[str, str] = field(default_factory=dict[str, str])
    extra: Literal["refuse", "drop"] = "refuse"

    @property
    def folder(self) -> Path:
        """What relative paths in the rows start from."""
        place = self.place[0] if isinstance(self.place, tuple) else self.place
        return Path() if isinstance(place, str) else place if place.is_dir() else place.parent

    def rows(self) -> list[Record]:
        """The rows, without nulls and pandas' index, their columns renamed.

        Raises:
            InputError: When nothing can be read, there are no rows, or `fields` does not fit them.
        """
        found = [
            (where, {key: value for key, value in row.items() if value is not None and not INDEX.fullmatch(key)})
            for where, row in _read(self.place)
        ]
        if not found:
            raise InputError(str(self.place), "no rows", "at least one row")
        columns = dict.fromkeys(key for _, row in found for key in row)
        for name, column in self.fields.items():
            if column not in columns:
                expected = f"a column: {', '.join(list(columns)[:20])}"
                raise InputError(f"fields.{name}", f"{column!r}, which no row has", expected)
            if name in columns and name not in self.fields.values() and name != column:
                fix = f"name another column for `{name}`, or none"
                raise InputError(f"fields.{name}", f"{column!r}, beside a column `{name}`", "one of the two", fix)
        names = {column: name for name, column in self.fields.items()}
        return [(where, {names.get(key, key): value for key, value in row.items()}) for where, row in found]


def place_of(name: str, folder: Path) -> Place:
    """Where a table is: what `samples:` of a part names.

    Args:
        name: A path, a folder with ``:split`` behind it, or a hub id.
        folder: What relative paths start from.

    Raises:
        InputError: For a folder of several splits of which none is named.
    """
    from einfluence.curate.sources.rows import choose_split, splits_of

    path = _plain(folder / Path(name).expanduser())
    before, _, split = name.rpartition(":")
    try:
        if path.is_dir():
            splits = splits_of(path)
            if len(splits) > 1:
                raise _which(name, splits)
            return path / splits[0] if splits and (path / "dataset_dict.json").exists() else path
        beside = _plain(folder / Path(before).expanduser())
        if not path.exists() and before and beside.is_dir():
            return choose_split(beside, split, f"samples: {name}")
        there = path.exists()
    except (OSError, ValueError):  # a name that no file can have
        there = False
    is_hub = _HUB.fullmatch(name) is not None and Path(name).suffix.lower() not in ENDINGS
    return name if is_hub and not there else path


def _plain(path: Path) -> Path:
    """A path without the folders that it only passes through (``mine/../rows.jsonl``), where it means the same."""
    plain = Path(os.path.normpath(path))
    try:
        return plain if plain.samefile(path) else path
    except (OSError, ValueError):
        return path


ENDINGS = (
    *(".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".txt", ".gz", ".zip", ".xlsx", ".xls", ".ods"),
    *COLUMNS,
)


def files_of_place(place: Place) -> list[Path]:
    """The files that the rows are read from; none of a hub id."""
    from einfluence.curate.sources.rows import files_of

    return [] if isinstance(place, str) else files_of(place)


def leave_out(
    rows: Sequence[Record], known: Collection[str], extra: Literal["refuse", "drop"], gates: Gates
) -> tuple[list[Record], list[str]]:
    """Rows without the columns that nothing reads, and, where they are refused, the names of these.

    Args:
        rows: The rows.
        known: Columns that are read.
        extra: Whether others are left out and counted; else they stay, and the caller refuses them.
        gates: Counts what was left out.
    """
    others = [key for key in dict.fromkeys(key for _, row in rows for key in row) if key not in known]
    if not others or extra == "refuse":
        return list(rows), others
    gates.count(LEFT_OUT, ", ".join(others), len(others))
    return [(where, {key: value for key, value in row.items() if key in known}) for where, row in rows], []


def _read(place: Place) -> Iterator[tuple[str, dict[str, Any]]]:
    from einfluence.curate.sources.rows import rows

    if isinstance(place, str):
        return _hub(place)
    if isinstance(place, Path) and not place.is_dir():
        check_ending(place)
    return rows(place)


def _hub(name: str) -> Iterator[Record]:
    import datasets

    from einfluence.curate.records import whole_characters
    from einfluence.curate.sources.rows import tables

    parts = _HUB.fullmatch(name)
    if parts is None:
        raise InputError("samples", repr(name), "a file, a folder, or a hub id `org/name[:config][:split]`")
    config, split = parts["config"] or None, parts["split"] or None
    try:
        found: Any = datasets.load_dataset(parts["id"], config, split=split, revision=parts["revision"])
    except Exception as error:  # datasets raises many kinds: no network, no such set, no such configuration
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            "samples", f"{name!r} ({first[:160]})", "a file or folder that is there, or a data set on the hub"
        ) from error
    if isinstance(found, dict):
        splits: Mapping[str, Any] = found
        if len(splits) > 1:
            raise _which(name.split(":")[0], list(splits), parts["config"] or "")
        found = next(iter(splits.values()))
    for where, row in tables(found, name):
        whole_characters(where, row)
        yield where, row


def _which(name: str, splits: Sequence[str], config: str | None = None) -> InputError:
    named = name if config is None else f"{name}:{config}"
    first = next((split for split in splits if split == "train"), splits[0])
    return InputError("samples", f"{name!r}, which has several splits", f"one of them: {named}:{first}",
                      f"There are {', '.join(splits)}")  # fmt: skip
