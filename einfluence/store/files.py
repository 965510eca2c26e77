"""Files that are whole or not there: temporary name, fsync, rename, fsync of the folder."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from einfluence.errors import InputError

TEMPORARY = ".tmp"  # a folder of its own, outside every glob that readers use


def write_whole(root: Path, target: Path, write: Callable[[Path], object]) -> Path:
    """Lets ``write`` fill a temporary file under ``root`` and renames it to ``target`` once it is on the disk.

    Raises:
        InputError: When the store cannot be written (read-only, full disk); what stood before is untouched.
    """
    temporary = root / TEMPORARY / f"{os.getpid()}-{secrets.token_hex(8)}{target.suffix}"
    try:
        temporary.parent.mkdir(parents=True, exist_ok=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        _sync(temporary)
        os.replace(temporary, target)
        _sync(target.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        fix = "make room or choose another --store; what was finished is kept and the next run goes on from there"
        raise InputError(str(target), f"{error.strerror or error}", "a store that can be written", fix) from error
    return target


def write_table(root: Path, target: Path, table: pa.Table) -> Path:
    """Writes one Parquet file, whole or not at all (zstd, one row group per 128k rows)."""
    return write_whole(
        root, target, lambda path: pq.write_table(table, path, compression="zstd", row_group_size=1 << 17)
    )


def write_json(root: Path, target: Path, value: Any) -> Path:
    """Writes one JSON file, whole or not at all."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    return write_whole(root, target, lambda path: path.write_text(text, encoding="utf-8"))


@contextmanager
def locked(root: Path) -> Generator[None]:
    """Holds the store's only lock. The kernel lets go of it when the process ends, however it ends."""
    root.mkdir(parents=True, exist_ok=True)
    with open(root / ".lock", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
