"""A user's file of rows again, without some of them: in its own format, and all that stays as it is."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from einfluence.curate.records import check_ending
from einfluence.errors import InputError

_PLACE = re.compile(r"(?::| item | row )(\d+)$")
_LINE = re.compile(rb"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z")
_BLANK = re.compile(r"\s*")
FORMATS = "a file .jsonl, .ndjson, .json, .csv, .tsv or .parquet"


def number_of(source: str) -> int:
    """The number of a row in its file, as ``samples.source`` has it: a line, an item of a list, or a row of Parquet.

    Raises:
        InputError: Where it has none.
    """
    found = _PLACE.search(source)
    if found is None:
        raise InputError("samples", f"a sample from {source!r}", f"a row of {FORMATS}")
    return int(found[1])


def check_writable(path: Path, out: Path) -> None:
    """Refuses what cannot be written again, before anything is done.

    Args:
        path: The user's file.
        out: Where it is to be written.

    Raises:
        InputError: For a folder, another format than the file's, or something that is there already.
    """
    if path.is_dir():
        fix = "save the split as one file, with `to_parquet` or `to_json` of datasets, say, and name that in `samples`"
        raise InputError(str(path), "a folder", FORMATS, fix)
    check_ending(path)
    if out.suffix.lower() != path.suffix.lower():
        raise InputError("--out", f"{str(out)!r}", f"a name that ends in {path.suffix}, as {path.name} does")
    if out.exists():
        raise InputError("--out", f"{str(out)!r}, which is there already", "a file that is not")


def write_without(path: Path, gone: Collection[int], out: Path) -> int:
    """Writes a file without some of its rows, and returns how many are left.

    Rows of text formats keep every byte, Parquet its columns and their types.

    Args:
        path: The file.
        gone: Numbers of rows, as :func:`number_of` has them.
        out: Where to.

    Raises:
        InputError: For a JSON file that is no list of objects, a text that is not UTF-8, or a folder that is missing.
    """
    numbers = [number_of(where) for where, _ in check_ending(path)(path)]
    kind = path.suffix.lower()
    try:
        if kind == ".parquet":
            _write_parquet(path, gone, out)
        elif kind == ".json" and numbers and not _is_lines(path):
            out.write_bytes(_list_without(path, gone))
        else:
            out.write_bytes(_lines_without(path, numbers, gone))
    except OSError as error:
        raise InputError("--out", f"{str(out)!r} ({error.strerror})", "a file that can be written") from error
    return sum(number not in gone for number in numbers)


def _is_lines(path: Path) -> bool:
    where, _ = next(check_ending(path)(path))
    return " item " not in where.removeprefix(str(path))


def _bytes(path: Path) -> bytes:
    data = path.read_bytes()
    try:
        data.decode("utf-8")
        if b"\0" in data[:4]:
            raise UnicodeDecodeError("utf-8", data, 0, 1, "a NUL")
    except UnicodeDecodeError as error:
        raise InputError(str(path), "text in another encoding than UTF-8", "UTF-8", "save it as UTF-8") from error
    return data


def _lines_without(path: Path, starts: list[int], gone: Collection[int]) -> bytes:
    """Lines of a row go from its first to the one before the next row's; what is before all rows is a header."""
    lines = _LINE.findall(_bytes(path))
    kept = b"".join(lines[: starts[0] - 1])
    for start, end in zip(starts, [*starts[1:], len(lines) + 1], strict=True):
        if start not in gone:
            kept += b"".join(lines[start - 1 : end - 1])
    mark = b"\xef\xbb\xbf"
    return mark + kept if lines[0].startswith(mark) and not kept.startswith(mark) else kept


def _list_without(path: Path, gone: Collection[int]) -> bytes:
    text = _bytes(path).decode("utf-8")
    items = list(_items(path, text))
    kept = [place for place in range(len(items)) if place not in gone]
    between = [text[items[place - 1][1] : items[place][0]] if place else "" for place in range(len(items))]
    rows = [text[slice(*items[place])] for place in kept]
    joined = "".join(
        (between[place] if number else "") + row for number, (place, row) in enumerate(zip(kept, rows, strict=True))
    )
    return (text[: items[0][0]] + joined + text[items[-1][1] :]).encode("utf-8")


def _items(path: Path, text: str) -> Iterator[tuple[int, int]]:
    """Where the objects of a JSON list begin and end in its text.

    Raises:
        InputError: Where the file is no plain list.
    """
    decoder: Any = json.JSONDecoder()
    at = _after(text, 1 if text.startswith("\ufeff") else 0)
    if text[at] != "[":
        fix = "write the rows as one list, or as JSON Lines"
        raise InputError(str(path), "objects or lists around the rows", "a JSON list of objects", fix)
    at = _after(text, at + 1)
    while text[at] != "]":
        _, end = decoder.raw_decode(text, at)
        yield at, end
        at = _after(text, end)
        at = _after(text, at + 1) if text[at] == "," else at


def _after(text: str, at: int) -> int:
    """The next place that is not white."""
    found = _BLANK.match(text, at)
    return at if found is None else found.end()


def _write_parquet(path: Path, gone: Collection[int], out: Path) -> None:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    table = file.read()
    kept = [row for row in range(len(table)) if row + 1 not in gone]
    compression = file.metadata.row_group(0).column(0).compression if file.metadata.num_row_groups else "SNAPPY"
    pq.write_table(table.take(kept), out, compression=compression.replace("UNCOMPRESSED", "NONE").lower())
