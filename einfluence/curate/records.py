"""Rows of JSONL, CSV and Parquet files, each with the place where it stands."""

from __future__ import annotations

import codecs
import csv
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, cast

from einfluence.curate.columns import misfit
from einfluence.errors import InputError

Record = tuple[str, dict[str, Any]]
"""Where a row stands (``samples.jsonl:12``) and its fields."""

INDEX = re.compile(r"__index_level_\d+__")
"""What pandas calls an index without a name in Parquet."""
DEEPEST = 50  # lists and objects in one another
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_UNPACK = "unpack it first, with gunzip or unzip, say"
COLUMNS: tuple[str, ...] = (
    ".conll", ".conllu", ".bio", ".iob", ".iob2", ".bioes", ".iobes", ".bmes", ".bilou",
)  # fmt: skip
"""Endings of files with columns of tokens and tags."""
_ELSE = {
    **dict.fromkeys((".gz", ".zip", ".bz2", ".xz", ".zst"), _UNPACK),
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "save the sheet as CSV (UTF-8)"),
    **dict.fromkeys((".arrow", ".feather"), "save the table as Parquet"),
    ".txt": "a file of tokens and tags ends in .conll",
    **dict.fromkeys((".yaml", ".yml"), "a facts file stands under `facts:`"),
    **dict.fromkeys(COLUMNS, "a tagger reads it; for other bases, `source: {name: conll, path: …}`"),
}
_FOREIGN = {
    b"version https://git-lfs": ("a Git LFS pointer instead of the file", "run `git lfs pull` in the clone"),
    b"\x1f\x8b": ("a gzip file", "unpack it with `gunzip`"),
    b"PK\x03\x04": ("a zip file", "unpack it with `unzip`"),
    b"BZh91AY&SY": ("a bzip2 file", "unpack it with `bunzip2`"),
    b"\xfd7zXZ": ("an xz file", "unpack it with `unxz`"),
    b"\x28\xb5\x2f\xfd": ("a Zstandard file", "unpack it with `unzstd`"),
    b"<!doctype html": ("a web page", "download the file itself, not the page that shows it"),
    b"<html": ("a web page", "download the file itself, not the page that shows it"),
}


def read_records(path: Path, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> list[Record]:
    """Reads the rows of a ``.jsonl``, ``.json``, ``.csv``, ``.tsv`` or ``.parquet`` file.

    Empty cells of a CSV, nulls of the others and pandas' index columns count as absent.

    Args:
        path: The file; its ending says what it is.
        required: Fields that every row must have, empty or not.
        optional: Fields that a row may have besides.

    Raises:
        InputError: With file and line, for a missing file, a broken line, missing or unknown fields (all of them).
    """
    rows = check_ending(path)(path)
    known = {*required, *optional}
    records: list[Record] = []
    for where, values in rows:
        fields = {key: value for key, value in values.items() if value is not None and not INDEX.fullmatch(key)}
        if not (known.issuperset(fields) and all(key in fields for key in required)):
            raise misfit(where, fields, _unknown(fields, rows, known), required, optional)
        records.append((where, fields))
    if not records:
        raise InputError(str(path), "no rows", "at least one row")
    return records


def check_ending(path: Path) -> Callable[[Path], Iterator[Record]]:
    """How a file is read, by its ending.

    Raises:
        InputError: When it is none that is read, or not what its ending says.
    """
    ending = path.suffix.lower()
    reader = _READERS.get(ending)
    if path.is_dir():
        raise InputError(str(path), "a folder", f"a {ENDINGS} file", "name the file that is in it")
    if reader is None:
        found = f"the ending {path.suffix!r}" if ending else "a name without an ending"
        raise InputError(str(path), found, f"a {ENDINGS} file", _ELSE.get(ending, ""))
    refuse_foreign(path)
    return reader


def _unknown(fields: Mapping[str, Any], rows: Iterator[Record], known: set[str]) -> list[str]:
    """Unknown fields of a row and of those behind it, as far as they can be read."""
    found = dict.fromkeys(key for key in fields if key not in known)
    try:
        for _, more in rows:
            found |= dict.fromkeys(key for key in more if key not in known and not INDEX.fullmatch(key))
    except InputError:
        pass  # that row has its own fault, which is named once this one is mended
    return list(found)


def require_file(path: Path) -> None:
    """Raises InputError unless ``path`` is a file that can be opened."""
    try:
        with open(path, "rb"):
            pass
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = (
            "no such file" if isinstance(error, FileNotFoundError) else getattr(error, "strerror", "") or str(error)
        )
        raise InputError(
            str(path), reason, "a readable file", "relative paths start at the spec file's folder"
        ) from error


def refuse_foreign(path: Path) -> None:
    """Raises InputError where a file is not what its name says: a pointer, a packed file, a web page."""
    require_file(path)
    with open(path, "rb") as file:
        start = file.read(64)
    for magic, (found, fix) in _FOREIGN.items():
        if start.lower().startswith(magic.lower()):
            raise InputError(str(path), found, "the data itself", fix)


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Line numbers from 1 and lines without their ends, of a text in UTF-8, or in UTF-16 with its mark.

    Raises:
        InputError: Where the bytes are neither, or the file cannot be read.
    """
    refuse_foreign(path)
    number = 0
    try:
        with open(path, encoding=_encoding(path), newline=None) as file:
            for number, line in enumerate(file, start=1):
                yield number, line.rstrip("\n")
    except UnicodeError as error:
        found, fix = "bytes that are not UTF-8", f"save it as UTF-8: `iconv -f WINDOWS-1252 -t UTF-8 {path.name}`, say"
        if isinstance(error, UnicodeDecodeError) and error.encoding == "utf-8":
            bad = error.object[error.start : error.start + 1]
            found += f" (0x{bad.hex()}, which is {bad.decode('cp1252', 'replace')!r} in Windows-1252)"
        raise InputError(f"{path}:{number + 1}", found, "text in UTF-8", fix) from error


def _encoding(path: Path) -> str:
    with open(path, "rb") as file:
        start = file.read(4)
    if start in (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE):
        return "utf-32"
    if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "utf-16"
    if start[1:2] == b"\0" or (start[:1] == b"\0" and start[1:2]):
        raise InputError(f"{path}:1", "UTF-16 without its mark", "text in UTF-8", "save it as UTF-8")
    return "utf-8-sig"


def read_jsonl(path: Path) -> Iterator[Record]:
    """The objects of a JSON Lines file; blank lines are passed over."""
    for number, line in lines_of(path):
        if line.strip():
            where = f"{path}:{number}"
            try:
                value = json.loads(line, object_pairs_hook=_object)
            except _KeyFault as error:
                raise InputError(f"{where} {error.key}", error.found, error.expected) from error
            except (ValueError, RecursionError) as error:
                raise InputError(where, f"a line that is no JSON ({error})", "one JSON object a line") from error
            if not isinstance(value, dict):
                raise InputError(where, f"a JSON {type(value).__name__}", 'a JSON object such as {"id": "a", ...}')
            if "\\u" in line:
                whole_characters(where, cast("dict[str, Any]", value))
            yield where, cast("dict[str, Any]", value)


class _KeyFault(ValueError):
    def __init__(self, key: str, found: str, expected: str) -> None:
        super().__init__(found)
        self.key, self.found, self.expected = key, found, expected


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose keys all differ, and whose numbers are numbers."""
    made: dict[str, Any] = {}
    for key, value in pairs:
        if key in made:
            raise _KeyFault(key, f"the key `{key}` twice", "each key once")
        if isinstance(value, float) and not math.isfinite(value):
            raise _KeyFault(key, f"{value}, which is no number of JSON", "a finite number, a text or null")
        made[key] = value
    return made


def whole_characters(where: str, value: object, key: str = "", depth: int = 0) -> None:
    """Raises InputError if a text in a value holds half of a surrogate pair, or lists and objects have no end.

    JSON can write such a half as an escape, and no text can hold it.
    """
    if depth > DEEPEST:
        raise InputError(where, f"lists or objects in one another, over {DEEPEST} deep", "fields of a row")
    if isinstance(value, str):
        if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
            found = f"half of a character ({ascii(value)[:80]})"
            fix = "a text was cut inside an emoji, say: cut it before or behind"
            raise InputError(f"{where} {key}".rstrip(), found, "whole characters", fix)
    elif isinstance(value, dict):
        for name, item in cast("dict[str, Any]", value).items():
            whole_characters(where, name, "a key")
            whole_characters(where, item, f"{key}.{name}" if key else name, depth + 1)
    elif isinstance(value, list):
        for index, item in enumerate(cast("list[Any]", value)):
            whole_characters(where, item, f"{key}.{index}" if key else str(index), depth + 1)


Pairs = Callable[[list[tuple[str, Any]]], dict[str, Any]]
"""Makes an object of JSON of its keys and values, or refuses it."""


def json_rows(path: Path, pairs: Pairs | None = None) -> Iterator[Record]:
    """The objects of a JSON list, or of lists and objects around them; of JSON Lines under either name.

    Args:
        path: The file.
        pairs: How an object of a list is made; by default with keys that differ and finite numbers.
    """
    first = next((line for _, line in lines_of(path) if line.strip()), "")
    if path.suffix.lower() != ".json" and not first.lstrip().startswith("["):
        yield from read_jsonl(path)
        return
    text = "\n".join(line for _, line in lines_of(path))
    try:
        value = json.loads(text, object_pairs_hook=pairs or _object)
    except _KeyFault as error:
        raise InputError(f"{path} {error.key}", error.found, error.expected) from error
    except (ValueError, RecursionError) as error:
        if text.lstrip().startswith("{"):
            yield from read_jsonl(path)
            return
        line = getattr(error, "lineno", 1)
        raise InputError(f"{path}:{line}", f"a file that is no JSON ({error})", "a JSON list of objects") from error
    if isinstance(value, dict) and len(value) == 1 and isinstance(next(iter(value.values())), list):
        value = next(iter(cast("dict[str, Any]", value).values()))
    if isinstance(value, dict) and value and all(isinstance(item, dict) for item in value.values()):
        value = [*cast("dict[str, Any]", value).values()]
    for index, item in enumerate(cast("list[Any]", value if isinstance(value, list) else [value])):
        where = f"{path} item {index}"
        if not isinstance(item, dict):
            raise InputError(where, type(item).__name__, "an object")
        whole_characters(where, cast("dict[str, Any]", item))
        yield where, cast("dict[str, Any]", item)


def _csv(path: Path) -> Iterator[Record]:
    """Rows by their header, whose separator (comma, semicolon or tab) is that of the file."""
    csv.field_size_limit(2**31 - 1)  # a cell may hold a whole document; Python's own limit is 131,072 characters
    lines = (line + "\n" for _, line in lines_of(path))
    first = next(lines, None)
    skipped, delimiter = 0, "\t" if path.suffix.lower() == ".tsv" else ","
    if first is not None and (named := re.fullmatch(r'"?sep=(.)"?\n', first)):
        first, skipped, delimiter = next(lines, None), 1, named[1]
    elif first is not None and delimiter not in first:
        delimiter = next((sign for sign in ",;\t" if sign in first), delimiter)
    if first is None:
        return
    spaced = 0 < first.count(delimiter) == first.count(f"{delimiter} ")  # written by hand, a blank behind each comma
    reader = csv.reader(chain([first], lines), delimiter=delimiter, skipinitialspace=spaced, strict=True)
    start = 1
    try:
        header = [key.strip() for key in next(reader)]
        _check_header(f"{path}:{1 + skipped}", header)
        start = reader.line_num + 1
        for row in reader:
            where, start = f"{path}:{start + skipped}", reader.line_num + 1
            if not row:
                continue
            if len(row) > len(header):
                found = f"{len(row)} cells"
                fix = f"quote cells that hold the separator {delimiter!r}"
                raise InputError(where, found, f"{len(header)}, as the header has", fix)
            yield where, {key: cell for key, cell in zip(header, row, strict=False) if cell != ""}
    except csv.Error as error:
        found = f"CSV that cannot be read ({error})"
        expected = f"cells separated by {_SEPARATORS.get(delimiter, repr(delimiter))}, those with quotes in them quoted"
        raise InputError(f"{path}:{start + skipped}", found, expected) from error


def _check_header(where: str, header: list[str]) -> None:
    twice = next((key for index, key in enumerate(header) if key in header[:index]), None)
    if twice:
        raise InputError(where, f"the column `{twice}` twice", "each column once")
    if any(key == "" or re.fullmatch(r"Unnamed: \d+", key) for key in header):
        fix = "pandas writes its index so: `frame.to_csv(path, index=False)` leaves it out"
        raise InputError(where, "a column without a name", "a name for each column", fix)


def _parquet(path: Path) -> Iterator[Record]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        raise InputError(str(path), f"Parquet that cannot be read ({error})"[:200], "a Parquet file") from error
    twice = next((key for index, key in enumerate(table.column_names) if key in table.column_names[:index]), None)
    if twice is not None:
        raise InputError(str(path), f"the column `{twice}` twice", "each column once")
    row = 0
    for batch in table.to_batches():
        for fields in batch.to_pylist():
            row += 1
            yield f"{path} row {row}", {key: value for key, value in fields.items() if value is not None}


def text_field(where: str, fields: Mapping[str, Any], key: str, default: str | None = None) -> str:
    """A field that must be text; numbers are not taken for text, except ids in a CSV, which are text anyway."""
    value = fields.get(key, default)
    if not isinstance(value, str):
        fix = "write numbers and true in quotes" if isinstance(value, int | float) else ""
        raise InputError(f"{where} {key}", f"{value!r:.80}", "text", fix)
    return value


def id_field(where: str, fields: Mapping[str, Any], key: str) -> str:
    """A field that must be an id: text that is not empty, or a whole number."""
    value = fields.get(key)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value.strip():
        fix = "pandas turns whole numbers into such where a cell is empty" if isinstance(value, float) else ""
        raise InputError(f"{where} {key}", f"{value!r:.80}", "an id: text that is not empty, or a whole number", fix)
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
    refuse_foreign(path)
    if path.suffix.lower() == ".parquet":
        return _parquet(path)
    if path.suffix.lower() in (".csv", ".tsv"):
        return _csv(path)
    raise InputError(str(path), f"the ending {path.suffix!r}", "a .json, .jsonl, .csv, .tsv or .parquet file")


_READERS: dict[str, Callable[[Path], Iterator[Record]]] = {
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), json_rows), ".csv": _csv, ".tsv": _csv, ".parquet": _parquet,
}  # fmt: skip
ENDINGS = ".jsonl, .json, .csv, .tsv or .parquet"
