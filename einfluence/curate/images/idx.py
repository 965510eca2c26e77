"""Images and labels in the IDX format, as MNIST and its kin are distributed."""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from einfluence.curate.images.decode import scaled
from einfluence.errors import InputError

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_NAME = re.compile(r"(?P<stem>.*?)[-_.]?idx\d*([-_.]\w+)?(\.gz)?", re.IGNORECASE)
_PART = re.compile(r"[-_.]?(?P<part>image|label)s?", re.IGNORECASE)
_SPLITS = {"test": {"test", "t10k"}, "train": {"train"}}


def idx_files(folder: Path) -> list[Path]:
    """The files of a folder that are IDX by their name: `train-images-idx3-ubyte.gz`, `images.idx`."""
    files = (file for file in folder.iterdir() if _NAME.fullmatch(file.name) and _PART.search(file.name))
    return sorted(file for file in files if not file.name.startswith(".") and file.is_file())


def idx_pair(folder: Path, files: Sequence[Path], split: str | None) -> tuple[str, Path, Path]:
    """The one pair of images and labels that a split names: its prefix, images and labels.

    Raises:
        InputError: If there is none, more than one, or half of one.
    """
    pairs: dict[str, dict[str, Path]] = {}
    for file in sorted(files, key=lambda file: file.suffix == ".gz", reverse=True):  # what is unpacked comes last
        name = _NAME.fullmatch(file.name)
        part = _PART.search(name["stem"] if name else "")
        if name and part:
            prefix = (name["stem"][: part.start()] + name["stem"][part.end() :]).strip("-_.")
            pairs.setdefault(prefix, {})[part["part"].lower()] = file
    chosen = [prefix for prefix in sorted(pairs) if split is None or prefix == split]
    if not chosen and split is not None:
        words = _SPLITS.get(split, {split})
        chosen = [prefix for prefix in sorted(pairs) if prefix.startswith(tuple(words))]
        chosen = chosen or [p for p in sorted(pairs) if words & set(re.split("[-_.]", p))]
    listed = ", ".join(sorted(pairs))
    if len(chosen) != 1:
        found = f"{split!r}" if split else "nothing"
        found += f", which {', '.join(chosen)} begin with" if chosen and split else ""
        raise InputError("images.split", found, f"one of {listed}", "write the one to take as `split`")
    pair = pairs[chosen[0]]
    if len(pair) != 2:
        raise InputError(str(folder), f"only {', '.join(pair)}s of {chosen[0]!r}", "an images and a labels file")
    return chosen[0], pair["image"], pair["label"]


def read_pair(images: Path, labels: Path) -> tuple[npt.NDArray[Any], list[int]]:
    """The images of a pair, of a type that says what is white, and their labels.

    Raises:
        InputError: If a file is not whole, they do not belong together, or their numbers are no brightness or label.
    """
    pixels, found = read_idx(images), read_idx(labels)
    if pixels.ndim not in (3, 4) or found.ndim != 1 or len(pixels) != len(found) or not pixels.size:
        raise InputError(str(labels), f"labels {found.shape} for images {pixels.shape}", "one label an image")
    scaled(pixels, str(images)) if pixels.dtype.kind == "f" else scaled(pixels[:1], str(images))
    if found.dtype.kind == "f" and not (np.isfinite(found).all() and (found == np.floor(found)).all()):
        raise InputError(str(labels), "labels that are no whole numbers", "class indices")
    return pixels, [int(label) for label in found]


def read_idx(path: Path) -> npt.NDArray[Any]:
    """An array in the IDX format of MNIST, gzipped or not.

    Raises:
        InputError: If the file is not whole.
    """
    try:
        raw = path.read_bytes()
        data = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (OSError, EOFError, zlib.error, MemoryError) as error:
        raise InputError(str(path), f"a file that cannot be read ({error})", "an IDX file") from error
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in TYPES or len(data) < 4 + 4 * data[3]:
        raise InputError(str(path), f"the first bytes {data[:4]!r}", "an IDX file, as MNIST is distributed")
    shape = struct.unpack_from(f">{data[3]}I", data, 4)
    body, kind = data[4 + 4 * data[3] :], np.dtype(TYPES[data[2]])
    if len(body) != math.prod(shape) * kind.itemsize:
        expected = f"{math.prod(shape) * kind.itemsize} for {shape}"
        raise InputError(str(path), f"{len(body)} bytes of data", expected, "the file is not whole; download it again")
    return np.frombuffer(body, kind).reshape(shape)
