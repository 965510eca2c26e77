"""Files that are whole or not there: temporary name, fsync, rename (or link, where a name must be new), fsync."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from einfluence.errors import InputError
from einfluence.keys import DIGEST_BYTES

DISTINCT = {"distance", "influence", "logprob_after", "logprob_restored"}  # columns in which a value hardly comes twice
MARKER = "einfluence.json"  # says that a folder is a store
TEMPORARY = ".tmp"  # a folder of its own, outside every glob that readers use
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS)


class Files:
    """The files of a store in a local folder, by their names relative to it (``/`` between folders).

    Args:
        root: The folder; made when first written to.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = str(root)

    def put(self, name: str, data: bytes, *, new: bool = False) -> bool:
        """Writes a file, whole or not at all.

        Args:
            name: Its name.
            data: Its bytes.
            new: Leave a file that is there already as it is.

        Returns:
            False with ``new``, when the name was taken.

        Raises:
            InputError: When the store cannot be written (read-only, full disk); what was there before is untouched.
        """
        target = self.root / name
        temporary = self.root / TEMPORARY / f"{os.getpid()}-{secrets.token_hex(8)}"
        try:
            _make_folder(temporary.parent)
            _make_folder(target.parent)
            _write_through(temporary, data)
            placed = _place_new(temporary, target, self.root) if new else _replace(temporary, target)
            _sync(target.parent)
        except OSError as error:
            raise unwritable(str(target), error) from error
        finally:
            _forget(temporary)
        return placed

    def get(self, name: str) -> Path | None:
        """A local path of a file, or None when it is not there."""
        path = self.root / name
        return path if path.is_file() else None

    def names(self, folder: str) -> list[str]:
        """Names of all files under a folder, sorted."""
        found: list[str] = []
        for place, _, files in os.walk(self.root / folder):
            within = Path(place).relative_to(self.root)
            found += [(within / file).as_posix() for file in files]
        return sorted(found)

    def sizes(self, folder: str) -> dict[str, int]:
        """Bytes of each file under a folder, by name."""
        found = {name: self._stat(name) for name in self.names(folder)}
        return {name: stat.st_size for name, stat in found.items() if stat is not None}

    def present(self, names: list[str]) -> set[str]:
        """Those of the given files that are there."""
        return {name for name in names if (self.root / name).is_file()}

    def delete(self, name: str) -> None:
        """Removes a file if it is there."""
        try:
            (self.root / name).unlink(missing_ok=True)
        except OSError as error:
            raise unwritable(str(self.root / name), error) from error

    def touch(self, name: str) -> None:
        """Notes on a file that it is out of use from now on; :meth:`idle` counts from there."""
        with suppress(FileNotFoundError):
            os.utime(self.root / name)

    def idle(self, name: str) -> float:
        """Seconds since a file was written or touched; 0 when it is not there."""
        found = self._stat(name)
        return time.time() - found.st_mtime if found else 0.0

    def _stat(self, name: str) -> os.stat_result | None:
        try:  # no question beforehand: another run may delete it between the two
            return (self.root / name).stat()
        except FileNotFoundError:
            return None

    def pull(self) -> None:
        """Brings what others have written; nothing to do in a folder."""


def table_bytes(table: pa.Table) -> bytes:
    """A table as Parquet (zstd, one row group per 128k rows); equal tables give equal bytes."""
    sink = pa.BufferOutputStream()
    distinct = [name for name in table.schema.names if name in DISTINCT]
    options: dict[str, Any] = {
        "use_dictionary": [name for name in table.schema.names if name not in distinct],
        "column_encoding": dict.fromkeys(distinct, "BYTE_STREAM_SPLIT") or None,
        # A column that is coded in memory is read as what it holds.
        "store_schema": not any(pa.types.is_dictionary(field.type) for field in table.schema),
    }
    pq.write_table(table, sink, compression="zstd", row_group_size=1 << 17, **options)
    return sink.getvalue().to_pybytes()


def json_bytes(value: object) -> bytes:
    """A value as indented JSON with sorted keys."""
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def read_json(path: Path) -> dict[str, Any]:
    """A file of the store that holds one JSON object.

    Raises:
        InputError: When it cannot be read.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(value, dict):
            raise ValueError("no mapping")
    except (OSError, ValueError) as error:
        fix = "`einfluence verify --repair` sets it aside"
        raise InputError(
            str(path), f"a file that cannot be read ({error})", "JSON as einfluence writes it", fix
        ) from error
    return cast("dict[str, Any]", value)


def bytes_digest(data: bytes) -> str:
    """The checksum in file names: the same as :func:`einfluence.keys.file_digest` of the file."""
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).hexdigest()


def unwritable(where: str, error: Exception) -> InputError:
    """The error for a store that cannot be written."""
    fix = "make room or choose another --store; what was finished is kept and the next run resumes from there"
    return InputError(where, _reason(error), "a store that can be written", fix)


def unreadable(where: str, error: Exception) -> InputError:
    """The error for a store that cannot be read."""
    fix = "Credentials, region and endpoint come from the environment: docs/operations.md, A store on S3"
    return InputError(where, _reason(error), "a store that can be reached and read", fix)


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error or type(error).__name__)


def _make_folder(folder: Path) -> None:
    """Makes a folder so that it outlives a power cut: its entry in the folder above is synced too."""
    if folder.is_dir():
        return
    if folder.parent != folder:
        _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync(folder.parent)


def _write_through(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _replace(temporary: Path, target: Path) -> bool:
    os.replace(temporary, target)
    return True


def _place_new(temporary: Path, target: Path, root: Path) -> bool:
    """Gives a file its name unless the name is taken, in one step."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        with open(root / ".lock", "a") as lock:  # a file system without links: the kernel drops the lock with us
            fcntl.flock(lock, fcntl.LOCK_EX)
            if target.exists():
                return False
            os.replace(temporary, target)
    return True


def _forget(temporary: Path) -> None:
    try:
        temporary.unlink(missing_ok=True)
    except OSError:
        pass  # a read-only store: there is no temporary file to remove


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
