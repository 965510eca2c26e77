"""The marker says that a folder is a store, and of which version; where it is lost, the parts say the version."""

from __future__ import annotations

import re
import secrets
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from einfluence.errors import InputError
from einfluence.store.files import MARKER, Files, json_bytes, read_json
from einfluence.store.schema import STORE_VERSION


def read_marker(files: Files) -> dict[str, Any] | None:
    """The marker, or None where there is none.

    Raises:
        InputError: When it cannot be read, or says no version.
    """
    path = files.get(MARKER)
    marker = read_json(path) if path is not None else None
    if marker is not None and not isinstance(marker.get("store_version"), int):
        fix = "`einfluence verify --repair` writes it anew"
        raise InputError(str(path), "no store_version", "the number of a version", fix)
    return marker


def check_version(files: Files) -> None:
    """Refuses a store of another version than today's.

    Raises:
        InputError: With the command that carries it over, where there is one.
    """
    marker = read_marker(files)
    lost = marker is None
    found = (_version_of_parts(files) or STORE_VERSION) if lost else marker["store_version"]
    if found != STORE_VERSION:
        repair = " --repair" if lost else ""
        carry = f"`einfluence verify{repair} --migrate --store {files.url}` carries it over"
        fix = carry if found == 1 else "use the einfluence that wrote it, or another --store"
        raise InputError(files.url, f"a store of version {found}", f"version {STORE_VERSION}", fix)


def write_marker(files: Files) -> None:
    """Makes a folder a store, of today's version or, where the marker was lost, of the version of its parts.

    Raises:
        InputError: When it cannot be written.
    """
    if files.get(MARKER) is None:
        version = _version_of_parts(files) or STORE_VERSION
        files.put(MARKER, json_bytes({"store_version": version, "id": secrets.token_hex(8)}), new=True)


def _version_of_parts(files: Files) -> int | None:
    """1 where a part has the columns of version 1, those that no entry of the log names included; else None.

    A store that was carried over keeps its former parts for a while. It is taken for one of version 1, too, since it
    may be one that was killed on the way; carrying it over once more changes nothing.
    """
    for name in files.names("influence"):
        path = files.get(name) if re.fullmatch(r"[0-9a-f]{20}\.parquet", PurePosixPath(name).name) else None
        if path is None:
            continue
        with suppress(OSError, pa.ArrowInvalid):  # damaged: the others say it
            columns = set(pq.read_schema(path).names)
            if {"logprob_before", "logprob_after"} <= columns and "influence" not in columns:
                return 1
    return None
