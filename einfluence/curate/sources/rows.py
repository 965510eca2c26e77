"""Rows of a data set: files of its own format with file and line, anything else through ``datasets``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from einfluence.curate.records import (
    Record,
    json_rows,
    read_records_loosely,
    refuse_foreign,
    whole_characters,
)
from einfluence.errors import InputError

Place = Path | str | tuple[Path, ...]
"""Where a data set lies: a file or folder, an id on the hub, or the files of one split."""

ENDINGS = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
SPLITS = {
    "train": "train", "training": "train", "test": "test", "testing": "test", "dev": "validation", "val": "validation",
    "valid": "validation", "validation": "validation", "eval": "validation",
}  # fmt: skip
_BOOKKEEPING = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "package.json")


def rows(place: Place, pattern: str = "*") -> Iterator[Record]:
    """The rows of a file (JSON, JSONL, CSV, TSV, Parquet), of a folder's files, or of a data set on the hub.

    Text formats are read here, so that errors name the line; folders saved by ``datasets`` and hub ids (``id``,
    ``id:config`` or ``id:config:split``) through ``datasets``. Numbers of classes come as the classes' names where the
    file says them.

    Raises:
        InputError: If nothing can be read.
    """
    for where, row in _rows(place, pattern):
        whole_characters(where, row)
        yield where, row


def _rows(place: Place, pattern: str) -> Iterator[Record]:
    if isinstance(place, str):
        yield from _hub(place)
        return
    for file in files_of(place, pattern):
        if file.is_dir():
            yield from _saved(file)
        else:
            yield from _file(file)


def files_of(place: Path | tuple[Path, ...], pattern: str = "*") -> list[Path]:
    """The data files of a folder (saved folders in it as one), without the bookkeeping that lies beside them.

    Raises:
        InputError: If there are none.
    """
    if isinstance(place, tuple):
        return list(place)
    if not place.is_dir() or _is_saved(place):
        return [place]
    seen = [path for path in sorted(place.rglob(pattern)) if not _is_hidden(path.relative_to(place))]
    saved = [path for path in seen if path.is_dir() and _is_saved(path)]
    files = [
        path
        for path in seen
        if _ending(path) in ENDINGS
        and path.name not in _BOOKKEEPING
        and not path.is_dir()
        and not any(folder in path.parents for folder in saved)
    ]
    if not files and not saved:
        script = next((path.name for path in seen if path.suffix == ".py"), None)
        raise InputError(
            str(place),
            f"no {pattern} file of {', '.join(ENDINGS)}" + (f", only a script ({script})" if script else ""),
            "a folder with the data set's files",
            "Scripts are not run: download the data itself" if script else "",
        )
    return sorted([*files, *saved])


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def _is_saved(path: Path) -> bool:
    return (path / "dataset_dict.json").exists() or (path / "state.json").exists()


def _ending(path: Path) -> str:
    """The ending; of a packed file, that of what is in it."""
    packed = path.suffix.lower() in (".gz", ".zip", ".bz2", ".xz", ".zst")
    return (Path(path.stem).suffix if packed else path.suffix).lower()


def splits_of(place: Place) -> list[str]:
    """Names of the splits that a folder holds, as its file names say."""
    if not isinstance(place, Path) or not place.is_dir():
        return []
    if (place / "dataset_dict.json").exists():
        return sorted(path.name for path in place.iterdir() if path.is_dir())
    try:
        found = {SPLITS.get(word) for file in files_of(place) for word in _split_words(file, place)}
    except InputError:
        return []
    return sorted(name for name in found if name)


def choose_split(place: Place, split: str, where: str = "source.split") -> Place:
    """The part of a data set that a split names.

    Args:
        place: The data set.
        split: The name.
        where: Where it was named, for messages.

    Raises:
        InputError: If there is no such split, or a file where splits are folders or file names.
    """
    if isinstance(place, str):
        identity, _, rest = place.partition(":")
        return f"{identity}:{rest.partition(':')[0]}:{split}"
    if isinstance(place, tuple) or not place.is_dir():
        raise InputError(where, f"{split!r} of the file {place}", "a folder or a hub id", "Leave it out")
    if (place / "dataset_dict.json").exists() and (place / split / "state.json").exists():
        return place / split
    wanted = {split.lower(), SPLITS.get(split.lower(), split.lower())}
    files = [] if (place / "dataset_dict.json").exists() else files_of(place)
    chosen = tuple(file for file in files if wanted & {*(words := _split_words(file, place)), *map(SPLITS.get, words)})
    if not chosen:
        raise InputError(where, f"{split!r}", f"one of {', '.join(splits_of(place)) or 'no splits here'}")
    return chosen


def _split_words(file: Path, folder: Path) -> list[str]:
    return re.findall(r"[^\W_]+", str(file.relative_to(folder)).lower())


def _file(path: Path) -> Iterator[Record]:
    ending = path.suffix.lower()
    if ending in (".json", ".jsonl", ".ndjson"):
        yield from json_rows(path, lambda pairs: _object(path, pairs))
    elif ending == ".parquet":
        names = _parquet_classes(path)
        yield from ((where, _named(row, names)) for where, row in read_records_loosely(path))
    else:
        yield from read_records_loosely(path)


def _object(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise InputError(str(path), f"the key `{twice}` twice in one object", "each key once")
    return found


def _saved(path: Path) -> Iterator[Record]:
    import datasets

    for file in sorted(path.rglob("*.arrow")):
        refuse_foreign(file)
    try:
        found: Any = datasets.load_from_disk(str(path))
    except Exception as error:  # as for the hub
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            str(path), f"a folder that `datasets` cannot read ({first[:120]})", "a saved data set"
        ) from error
    yield from tables(found, str(path))


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
    yield from tables(found, name)


def tables(found: Any, name: str) -> Iterator[Record]:
    """The rows of what ``datasets`` has loaded, classes by their names."""
    parts: Mapping[str, Any] = found if isinstance(found, dict) else {"": found}
    for split, table in parts.items():
        names = {key: listed for key, feature in table.features.items() if (listed := _class_names(feature))}
        for index, item in enumerate(table):
            yield f"{name} {split} row {index}".replace("  ", " "), _named(item, names)


def _class_names(feature: Any) -> list[str]:
    """Names of the classes whose numbers a column holds, single or in lists."""
    return list(getattr(feature, "names", None) or getattr(getattr(feature, "feature", None), "names", None) or [])


def _parquet_classes(path: Path) -> dict[str, list[str]]:
    """Names of classes by column, as ``datasets`` writes them into a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        stated = json.loads((pq.read_schema(path).metadata or {}).get(b"huggingface", b"{}"))
        features = cast("dict[str, Any]", stated["info"]["features"])
        inner = {key: feature.get("feature", feature) for key, feature in features.items()}
        return {key: [str(name) for name in feature["names"]] for key, feature in inner.items() if "names" in feature}
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # no such note, or no Parquet at all, which its reader says better


def _named(row: Mapping[str, Any], names: Mapping[str, list[str]]) -> dict[str, Any]:
    def name(listed: list[str], value: Any) -> Any:
        if isinstance(value, list):
            return [name(listed, item) for item in cast("list[Any]", value)]
        known = isinstance(value, int) and 0 <= value < len(listed)
        return listed[value] if known else None if value == -1 else value

    return {key: name(names[key], value) if key in names else value for key, value in row.items()}


# Fields of an item. What is there and of another type is a fault; what is absent is the caller's to judge.


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


def optional(where: str, fields: Mapping[str, Any], *keys: str) -> str:
    """The first text that is there and not blank among these keys; empty if there is none.

    Raises:
        InputError: For what is neither text nor absent.
    """
    for key in keys:
        value = fields.get(key)
        if value is not None and not isinstance(value, str):
            raise InputError(f"{where} {key}", f"{value!r:.60}", "text")
        if value and value.strip():
            return value
    return ""


def word(where: str, fields: Mapping[str, Any], *keys: str) -> str:
    """As :func:`optional`, for ids and names of classes, which may be whole numbers."""
    for key in keys:
        value = fields.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if found := optional(where, fields, key):
            return found
    return ""


def texts(where: str, fields: Mapping[str, Any], key: str) -> list[str]:
    """The texts of a list; a single one counts as a list of one, absence as an empty one.

    Raises:
        InputError: For anything that is no text.
    """
    found = items(fields, key)
    for value in found:
        if not isinstance(value, str):
            raise InputError(f"{where} {key}", f"{value!r:.60}", "text, or a list of texts")
    return cast("list[str]", found)


def objects(where: str, fields: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """The objects of a list; as :func:`texts`."""
    found = items(fields, key)
    for value in found:
        if not isinstance(value, Mapping):
            raise InputError(f"{where} {key}", f"{value!r:.60}", "an object, or a list of objects")
    return cast("list[Mapping[str, Any]]", found)


def mapping(where: str, fields: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """An object in an item; absence counts as an empty one.

    Raises:
        InputError: For anything that is no object.
    """
    value = fields.get(key)
    if value is not None and not isinstance(value, Mapping):
        raise InputError(f"{where} {key}", f"{value!r:.60}", "an object")
    return cast("Mapping[str, Any]", value or {})


def answers(where: str, value: Any) -> list[str]:
    """All texts of an answer, which may be one, a list, a list of lists of aliases, or ``{"value": …}``.

    Raises:
        InputError: For anything else in it.
    """
    if value is None:
        return []
    if isinstance(value, str):
        return [value] if value.strip() else []
    if isinstance(value, Mapping):
        return answers(
            where, cast("Mapping[str, Any]", value).get("value", cast("Mapping[str, Any]", value).get("str"))
        )
    if isinstance(value, list):
        return [found for item in cast("list[Any]", value) for found in answers(where, item)]
    raise InputError(where, f"the answer {value!r:.60}", "text, or lists of texts")


def items(fields: Mapping[str, Any], key: str) -> list[Any]:
    """A list in an item; a single value counts as a list of one, absence as an empty one."""
    value = fields.get(key)
    if value is None:
        return []
    return cast("list[Any]", value) if isinstance(value, list) else [value]
