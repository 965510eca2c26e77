"""What files hash to, found out once while nothing about them changes: for the process, and of big ones on the disk."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from einfluence.embedded import cache_folder
from einfluence.keys import content_hash, file_digest

LARGE = 1 << 26  # bytes; reading a bigger file again takes longer than looking a note up
_SETTLED = 2_000_000_000  # nanoseconds: a file changed later than that may change again within one tick of its clock
_known: dict[tuple[str, str], tuple[tuple[int, ...], Any]] = {}


def digest(file: Path) -> str:
    """As :func:`einfluence.keys.file_digest`, remembered.

    Raises:
        OSError: When the file cannot be read.
    """
    return remembered(file, "bytes", lambda: file_digest(file))


def remembered(file: Path, what: str, compute: Callable[[], Any]) -> Any:
    """What follows from a file's bytes alone, computed anew when its place, size or times are others.

    Args:
        file: The file.
        what: Names what is computed.
        compute: Gives plain data that JSON can hold; a tuple may come back as a list.

    Raises:
        OSError: When there is no such file.
    """
    about, place = os.stat(file), os.path.abspath(file)
    signature = (about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)
    known = _known.get((what, place))
    if known is not None and known[0] == signature:
        return known[1]
    settled = time.time_ns() - max(about.st_mtime_ns, about.st_ctime_ns) > _SETTLED
    if settled and about.st_size >= LARGE:
        value = _noted(content_hash((what, place, signature)), compute)
    else:
        value = compute()
    if settled:
        _known[what, place] = signature, value
    return value


def _noted(name: str, compute: Callable[[], Any]) -> Any:
    note = cache_folder() / "digests" / f"{name}.json"
    with suppress(OSError, ValueError):
        return json.loads(note.read_text(encoding="utf-8"))
    value = compute()
    with suppress(OSError):  # a cache that cannot be written costs time only
        note.parent.mkdir(parents=True, exist_ok=True)
        written = note.with_name(f".{note.name}.{os.getpid()}")
        written.write_text(json.dumps(value), encoding="utf-8")
        os.replace(written, note)
    return value
