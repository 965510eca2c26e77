"""Images and labels in one NumPy archive, as MedMNIST is distributed: `train_images` beside `train_labels`."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from einfluence.curate.images.decode import scaled
from einfluence.curate.images.trees import SPLITS
from einfluence.errors import InputError

_IMAGES, _LABELS = "images", "labels"


def read_npz(file: Path, split: str | None) -> tuple[str, npt.NDArray[Any], list[int]]:
    """What a split of an archive holds: its prefix, the images, of a type that says what is white, and their labels.

    Images are (n, height, width), or (n, 3, height, width) where they are coloured.

    Raises:
        InputError: If the archive is not whole, the split is none or one of several that are not named, or the arrays
            are no pictures of one class each.
    """
    try:
        with np.load(file, allow_pickle=False) as archive:
            prefix = _chosen(file, archive.files, split)
            pixels, labels = archive[f"{prefix}{_IMAGES}"], archive[f"{prefix}{_LABELS}"]
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, MemoryError) as error:
        raise InputError(str(file), f"a file that cannot be read ({error})"[:200], "a whole .npz of numbers") from error
    here, there = f"{file} {prefix}{_IMAGES}", f"{file} {prefix}{_LABELS}"
    flat = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if flat.ndim != 1 or flat.dtype.kind not in "iu" or len(flat) != len(pixels) or not pixels.size:
        found = f"{labels.dtype} of shape {labels.shape} for images of shape {pixels.shape}"
        raise InputError(there, found, "one class index an image: sets of several labels an image are not read")
    if not (pixels.ndim == 3 or pixels.ndim == 4 and pixels.shape[-1] == 3):
        expected = "(n, height, width) or (n, height, width, 3): volumes are not read"
        raise InputError(here, f"an array of shape {pixels.shape}", expected)
    scaled(pixels if pixels.dtype.kind == "f" else pixels[:1], here)
    pixels = np.moveaxis(pixels, -1, 1) if pixels.ndim == 4 else pixels
    return prefix, pixels, [int(label) for label in flat]


def _chosen(file: Path, names: list[str], split: str | None) -> str:
    """The prefix of the pair of arrays that a split names, or of the only one."""
    prefixes = [name.removesuffix(_IMAGES) for name in names if name.endswith(_IMAGES)]
    prefixes = [prefix for prefix in prefixes if f"{prefix}{_LABELS}" in names]
    if not prefixes:
        found = f"the arrays {', '.join(names)[:120]}"
        raise InputError(str(file), found, "`images` and `labels`, or a pair a split: `train_images`, `train_labels`")
    words = {split, *next((words for words in SPLITS if split in words), ())}
    chosen = [prefix for prefix in prefixes if split is None or prefix.strip("_-.") in words]
    if len(chosen) != 1:
        listed = ", ".join(prefix.strip("_-.") or _IMAGES for prefix in prefixes)
        found = f"{split!r}" if split else "nothing"
        raise InputError("images.split", found, f"one of {listed}", "write the one to take as `split`")
    return chosen[0]
