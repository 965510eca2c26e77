"""Content hashes: canonical, type-tagged bytes, and a refusal for every type not listed here.

A hash covers everything that can change a number and nothing else. Two values hash alike only if they are
equal *and* of the same type: ``1``, ``1.0``, ``"1"`` and ``True`` all differ; a list equals the tuple of the
same items; the order of a mapping's keys does not count.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

DIGEST_BYTES = 10  # 80 bits: a billion samples collide with probability under one in a million


def content_hash(value: object) -> str:
    """Hashes a value of plain data to 20 hexadecimal digits.

    Args:
        value: None, bool, int, float, str, bytes, NumPy arrays, and lists, tuples and string-keyed mappings of these.

    Raises:
        TypeError: For any other type, rather than a guess at what in it matters.
    """
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    _feed(value, digest.update)
    return digest.hexdigest()


def file_digest(path: str | Path) -> str:
    """Hashes a file's bytes (not its name) to 20 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _feed(value: object, update: Callable[[bytes], object]) -> None:
    match value:
        case str():  # first, since most of what is hashed is text
            _tagged(b"s", value.encode(), update)
        case None:
            update(b"n")
        case bool():
            update(b"t" if value else b"f")
        case int():
            _tagged(b"i", str(value).encode(), update)
        case float():
            update(b"d" + struct.pack("<d", value))
        case bytes():
            _tagged(b"b", value, update)
        case np.ndarray():
            if value.dtype.kind not in "biuf":
                raise TypeError(f"cannot hash an array of {value.dtype}; convert it to numbers first")
            little = np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("<"))
            _tagged(b"a", f"{little.dtype.str}{little.shape}".encode(), update)
            update(little.tobytes())
        case list() | tuple():
            items = cast("list[Any] | tuple[Any, ...]", value)
            update(b"l" + struct.pack("<q", len(items)))
            for item in items:
                _feed(item, update)
        case Mapping():
            mapping = cast("Mapping[Any, Any]", value)
            wrong = [key for key in mapping if not isinstance(key, str)]
            if wrong:
                raise TypeError(f"cannot hash a mapping with the key {wrong[0]!r}; keys must be strings")
            update(b"m" + struct.pack("<q", len(mapping)))
            for key in sorted(mapping):
                _feed(key, update)
                _feed(mapping[key], update)
        case _:
            raise TypeError(
                f"cannot hash a {type(value).__name__}; give plain data (numbers, strings, arrays, lists, mappings)"
            )


def _tagged(tag: bytes, payload: bytes, update: Callable[[bytes], object]) -> None:
    # The length goes first so that no two sequences of values can run together into the same bytes.
    update(tag + struct.pack("<q", len(payload)) + payload)
