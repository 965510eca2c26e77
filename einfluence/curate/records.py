"""Rows of JSONL, CSV and Parquet files, each with the place where it stands."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from einfluence.errors import InputError

Record = tuple[str, dict[str, Any]]
"""Where a row stands (``samples.jsonl:12``) and its fields."""


def read_records(path: Path, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> list[Record]:
    """Reads the rows of a ``.jsonl``, ``.csv`` or ``.parquet`` file; empty cells of a CSV count as absent.

    Args:
        path: The file; its ending says what it is.
        required: Fields that every row must have, empty or not.
        optional: Fields that a row may have besides.

    Raises:
        InputError: With file and line, for a missing file, a broken line, a missing or an unknown field.
    """
    reader = {".jsonl": _jsonl, ".ndjson": _jsonl, ".csv": _csv, ".parquet": _parquet}.get(path.suffix.lower())
    if reader is None:
        raise InputError(str(path), f"the ending {path.suffix!r}", "a .jsonl, .csv or .parquet file")
    require_file(path)
    known = {*required, *optional}
    records: list[Record] = []
    for where, fields in reader(path):
        missing = [key for key in required if key not in fields]
        unknown = [key for key in fields if key not in known]
        if missing:
            raise InputError(where, f"no `{missing[0]}`", f"the fields {', '.join(required)}")
        if unknown:
            raise InputError(
                where, f"the unknown field `{unknown[0]}`", f"fields among {', '.join((*required, *optional))}"
            )
        records.append((where, fields))
    if not records:
        raise InputError(str(path), "no rows", "at least one row")
    return records


def require_file(path: Path) -> None:
    """Raises InputError unless ``path`` is a file that can be opened."""
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror or str(error)
        raise InputError(
            str(path), reason, "a readable file", "relative paths start at the spec file's folder"
        ) from error


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Line numbers from 1 and lines without their ends, of a UTF-8 text.

    Raises:
        InputError: Where the bytes are not UTF-8, or the file cannot be read.
    """
    require_file(path)
    number = 0
    try:
        with open(path, encoding="utf-8-sig", newline=None) as file:
            for number, line in enumerate(file, start=1):
                yield number, line.rstrip("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}:{number + 1}", "bytes that are not UTF-8", "text in UTF-8") from error


def read_jsonl(path: Path) -> Iterator[Record]:
    """The objects of a JSON Lines file; blank lines are passed over."""
    return _jsonl(path)


def _jsonl(path: Path) -> Iterator[Record]:
    for number, line in lines_of(path):
        if line.strip():
            where = f"{path}:{number}"
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(where, f"a line that is no JSON ({error})", "one JSON object a line") from error
            if not isinstance(value, dict):
                raise InputError(where, f"a JSON {type(value).__name__}", 'a JSON object such as {"id": "a", ...}')
            yield where, cast("dict[str, Any]", value)


def _csv(path: Path, delimiter: str = ",") -> Iterator[Record]:
    lines = (line + "\n" for _, line in lines_of(path))
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        header = next(reader, None)
        if header is None:
            return
        start = reader.line_num + 1
        for row in reader:
            where, start = f"{path}:{start}", reader.line_num + 1
            if not row:
                continue
            if len(row) > len(header):
                raise InputError(
                    where, f"{len(row)} cells", f"{len(header)}, as the header has", "quote cells with commas"
                )
            yield where, {key.strip(): cell for key, cell in zip(header, row, strict=False) if cell != ""}
    except csv.Error as error:
        raise InputError(
            f"{path}:{reader.line_num}", f"CSV that cannot be read ({error})", "comma-separated cells"
        ) from error


def _parquet(path: Path) -> Iterator[Record]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(str(path), f"Parquet that cannot be read ({error})"[:200], "a Parquet file") from error
    row = 0
    for batch in table.to_batches():
        for fields in batch.to_pylist():
            row += 1
            yield f"{path} row {row}", {key: value for key, value in fields.items() if value is not None}


def text_field(where: str, fields: Mapping[str, Any], key: str, default: str | None = None) -> str:
    """A field that must be text; numbers are not taken for text, except ids in a CSV, which are text anyway."""
    value = fields.get(key, default)
    if not isinstance(value, str):
        raise InputError(f"{where} {key}", f"{value!r:.80}", "text")
    return value


def id_field(where: str, fields: Mapping[str, Any], key: str) -> str:
    """A field that must be an id: text that is not empty, or a whole number."""
    value = fields.get(key)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{where} {key}", f"{value!r:.80}", "an id: text that is not empty")
    return value


def number_field(where: str, fields: Mapping[str, Any], key: str, kind: Callable[[Any], float] = float) -> float | None:
    """A field that must be a finite number, or absent."""
    value = fields.get(key)
    if value is None:
        return None
    try:
        number = kind(value)
        if isinstance(value, bool) or number != number or number in (float("inf"), float("-inf")):
            raise ValueError
        if kind is int and float(value) != number:
            raise ValueError
    except (TypeError, ValueError, OverflowError) as error:
        expected = "a whole number" if kind is int else "a finite number"
        raise InputError(f"{where} {key}", f"{value!r:.80}", expected) from error
    return number


def read_records_loosely(path: Path) -> Iterator[Record]:
    """Rows of a CSV, TSV or Parquet file, whatever their fields.

    Raises:
        InputError: As :func:`read_records`.
    """
    require_file(path)
    if path.suffix.lower() == ".parquet":
        return _parquet(path)
    if path.suffix.lower() in (".csv", ".tsv"):
        return _csv(path, "\t" if path.suffix.lower() == ".tsv" else ",")
    raise InputError(str(path), f"the ending {path.suffix!r}", "a .json, .jsonl, .csv, .tsv or .parquet file")
