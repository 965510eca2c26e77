"""Rows of a data set: files of its own format with file and line, anything else through ``datasets``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from einfluence.curate.records import Record, lines_of, read_jsonl, read_records_loosely, require_file
from einfluence.errors import InputError


def rows(path: Path | str, pattern: str = "*") -> Iterator[Record]:
    """The rows of a file (JSON, JSONL, CSV, TSV, Parquet), of a folder's files, or of a data set on the hub.

    Text formats are read here, so that errors name the line; folders saved by ``datasets`` and hub ids (``id``,
    ``id:config`` or ``id:config:split``) through ``datasets``.

    Raises:
        InputError: If nothing can be read.
    """
    if isinstance(path, str):
        yield from _hub(path)
    elif path.is_dir():
        if (path / "dataset_info.json").exists() or (path / "dataset_dict.json").exists():
            yield from _saved(path)
            return
        endings = (".json", ".jsonl", ".ndjson", ".csv", ".parquet")
        files = sorted(file for file in path.rglob(pattern) if file.suffix.lower() in endings and file.is_file())
        if not files:
            raise InputError(
                str(path), f"no {pattern} file of {', '.join(endings)}", "a folder with the data set's files"
            )
        for file in files:
            yield from _file(file)
    else:
        yield from _file(path)


def _file(path: Path) -> Iterator[Record]:
    if path.suffix.lower() == ".json":
        yield from _json(path)
    elif path.suffix.lower() in (".jsonl", ".ndjson"):
        yield from read_jsonl(path)
    else:
        yield from read_records_loosely(path)


def _json(path: Path) -> Iterator[Record]:
    """A JSON list of objects, one object, or JSON Lines under a wrong name."""
    require_file(path)
    text = "\n".join(line for _, line in lines_of(path))
    try:
        value = json.loads(text)
    except ValueError as error:
        if text.lstrip().startswith("{"):
            yield from read_jsonl(path)
            return
        line = getattr(error, "lineno", 1)
        raise InputError(f"{path}:{line}", f"a file that is no JSON ({error})", "a JSON list of objects") from error
    if isinstance(value, dict) and len(value) == 1 and isinstance(next(iter(value.values())), list):
        value = next(iter(cast("dict[str, Any]", value).values()))
    if isinstance(value, dict) and all(isinstance(item, dict) for item in cast("dict[str, Any]", value).values()):
        value = [*cast("dict[str, Any]", value).values()]
    items = cast("list[Any]", value if isinstance(value, list) else [value])
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            raise InputError(f"{path} item {index}", type(item).__name__, "an object")
        yield f"{path} item {index}", cast("dict[str, Any]", item)


def _saved(path: Path) -> Iterator[Record]:
    import datasets

    try:
        found: Any = datasets.load_from_disk(str(path))
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            str(path), f"a folder that `datasets` cannot read ({error})"[:200], "a saved data set"
        ) from error
    yield from _tables(found, str(path))


def _hub(name: str) -> Iterator[Record]:
    import datasets

    identity, _, rest = name.partition(":")
    config, _, split = rest.partition(":")
    try:
        found: Any = datasets.load_dataset(identity, config or None, split=split or None)
    except Exception as error:  # datasets raises many kinds: no network, no such set, no such configuration
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            "source.path", f"{name!r} ({first[:120]})", "a file or folder that exists, or a data set on the hub"
        ) from error
    yield from _tables(found, name)


def _tables(found: Any, name: str) -> Iterator[Record]:
    parts: Mapping[str, Any] = found if isinstance(found, dict) else {"": found}
    for split, table in parts.items():
        for index, item in enumerate(table):
            yield f"{name} {split} row {index}".replace("  ", " "), item


def text(where: str, fields: Mapping[str, Any], *keys: str) -> str:
    """A text deep in an item, e.g. ``text(where, item, "requested_rewrite", "subject")``.

    Raises:
        InputError: If there is none.
    """
    value: Any = fields
    for depth, key in enumerate(keys):
        if not isinstance(value, Mapping) or key not in value:
            raise InputError(where, f"no `{'.'.join(keys[: depth + 1])}`", "an item of this data set")
        value = cast("Mapping[str, Any]", value)[key]
    if not isinstance(value, str):
        raise InputError(f"{where} {'.'.join(keys)}", f"{value!r:.60}", "text")
    return value


def items(fields: Mapping[str, Any], key: str) -> list[Any]:
    """A list in an item; a single value counts as a list of one, absence as an empty one."""
    value = fields.get(key)
    if value is None:
        return []
    return cast("list[Any]", value) if isinstance(value, list) else [value]
