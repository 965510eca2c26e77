"""Where images come from: the shipped digits, folders, IDX files and any ``datasets`` image set."""

from __future__ import annotations

import gzip
import math
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from einfluence.curate.pictures import IMAGE_ENDINGS, Decoded, Pixels, decode, from_array, from_value
from einfluence.errors import InputError
from einfluence.spec import Images, Spec

IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


@dataclass(frozen=True)
class Picture:
    """One image, not yet read.

    Args:
        name: What people call it.
        key: What draws go by: its name within the source, without the machine's path.
        label: Class index.
        domain: Class name.
        where: What errors name.
        load: Reads the pixels.
    """

    name: str
    key: str
    label: int
    domain: str
    where: str
    load: Callable[[], Decoded]


def load_pictures(images: Images, spec: Spec, channels: int | None) -> Sequence[Picture]:
    """All images of a source.

    Args:
        images: Its ``source`` is ``digits``, a folder, a zip of folders, a folder of IDX files, or a ``datasets`` id.
        spec: For relative paths.
        channels: 1 or 3, to turn colours into grey or back; None leaves them.

    Raises:
        InputError: If there is nothing of the kind.
    """
    if images.source == "digits":
        return _digits(images.split)
    path = spec.path(images.source)
    if path.is_dir():
        if (path / "dataset_info.json").exists() or (path / "dataset_dict.json").exists():
            return _saved(path, images.split, channels)
        idx = sorted(file for file in path.iterdir() if "idx" in file.name and "ubyte" in file.name)
        return _idx(path, idx, images.split, channels) if idx else _folder(path, images.split, channels)
    if path.suffix == ".zip" and path.is_file():
        return _zip(path, channels)
    if path.exists():
        raise InputError("images.source", f"the file {images.source!r}", "a folder, a .zip of folders, or a hub id")
    return _hub(images.source, images.split, channels)


def digits(split: str | None = None) -> tuple[Pixels, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The scans inside scikit-learn: pixels (n, 1, 8, 8) in [0, 1], labels (n,) and rows (n,).

    ``train`` is what the embedded base is trained on (three rows of five), ``test`` the others, and the default.
    Source: UCI, Alpaydin and Kaynak (1998), CC BY 4.0.
    """
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    rows = np.arange(len(bunch.target))
    kept = {"train": rows % 5 < 3, "test": rows % 5 >= 3, "all": rows >= 0}.get(split or "test")
    if kept is None:
        raise InputError("images.split", f"{split!r}", "train, test or all")
    pixels = (bunch.images / 16.0).astype(np.float32)[:, None]
    return pixels[kept], bunch.target.astype(np.int64)[kept], rows[kept]


def _digits(split: str | None) -> list[Picture]:
    pixels, labels, rows = digits(split)
    return [
        Picture(f"digit{row}", f"digit{row}", int(label), str(label), f"digits row {row}", _given(image))
        for image, label, row in zip(pixels, labels, rows, strict=True)
    ]


def _given(pixels: Pixels) -> Callable[[], Decoded]:
    return lambda: Decoded(pixels)


def _folder(path: Path, split: str | None, channels: int | None) -> list[Picture]:
    """``class/image.png``, also ``split/class/image.png`` and, as in Omniglot, ``alphabet/character/image.png``."""
    root = path / split if split else path
    if not root.is_dir():
        raise InputError("images.split", f"no folder {split!r} in {path}", "the name of a folder in the source")
    files = sorted(
        file
        for file in root.rglob("*")
        if file.suffix.lower() in IMAGE_ENDINGS
        and not any(part.startswith(".") for part in file.relative_to(root).parts)
    )
    grouped = [(file.parent.relative_to(root).as_posix(), file) for file in files]
    classes = {name: index for index, name in enumerate(sorted({name for name, _ in grouped}))}
    if not files or "." in classes:
        found = f"{len(files)} images" + (", some without a class folder" if "." in classes else "")
        raise InputError("images.source", f"{path} with {found}", "a folder of class folders with images")

    def load(file: Path) -> Callable[[], Decoded]:
        return lambda: from_value(str(file), str(file), Path(), channels)

    return [
        Picture(f"{name}/{file.stem}", f"{name}/{file.name}", classes[name], name, str(file), load(file))
        for name, file in grouped
    ]


def _zip(path: Path, channels: int | None) -> list[Picture]:
    """A zip of class folders, as Omniglot is distributed."""
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError("images.source", f"{path}: {error}", "a zip file") from error
    with archive:
        names = sorted(name for name in archive.namelist() if Path(name).suffix.lower() in IMAGE_ENDINGS)
    parents = sorted({str(Path(name).parent) for name in names} - {"."})
    classes = {name: index for index, name in enumerate(parents)}
    names = [name for name in names if str(Path(name).parent) in classes and not name.startswith("__MACOSX")]
    if not names:
        raise InputError("images.source", f"{path} without images in folders", "a zip of class folders with images")

    def load(name: str) -> Callable[[], Decoded]:
        def read() -> Decoded:
            try:
                with zipfile.ZipFile(path) as opened:
                    data = opened.read(name)
            except (OSError, zipfile.BadZipFile, zlib.error) as error:
                raise InputError(f"{path}:{name}", f"a file that cannot be unpacked ({error})", "a zip file") from error
            return decode(data, f"{path}:{name}", channels)

        return read

    return [
        Picture(name, name, classes[str(Path(name).parent)], str(Path(name).parent), f"{path}:{name}", load(name))
        for name in names
    ]


def _idx(path: Path, files: Sequence[Path], split: str | None, channels: int | None) -> list[Picture]:
    """MNIST's files: ``<prefix>-images-idx3-ubyte[.gz]`` beside ``<prefix>-labels-idx1-ubyte[.gz]``."""
    pairs: dict[str, dict[str, Path]] = {}
    for file in files:
        for part in ("images", "labels"):
            if part in file.name:
                pairs.setdefault(file.name.split(part)[0].rstrip("-_."), {})[part] = file
    wanted = {"test": ("test", "t10k"), "train": ("train",)}.get(split or "", (split,) if split else ("",))
    chosen = sorted(prefix for prefix in pairs if prefix.startswith(wanted))
    if not chosen:
        raise InputError("images.split", f"{split!r}", f"one of {', '.join(sorted(pairs))}")
    pictures: list[Picture] = []
    for prefix in chosen:
        pair = pairs[prefix]
        if len(pair) != 2:
            raise InputError(str(path), f"only {', '.join(pair)} of {prefix!r}", "an images and a labels file")
        pixels, labels = read_idx(pair["images"]), read_idx(pair["labels"])
        if pixels.ndim not in (3, 4) or labels.ndim != 1 or len(pixels) != len(labels):
            raise InputError(
                str(pair["labels"]), f"labels {labels.shape} for images {pixels.shape}", "one label an image"
            )
        names = (f"{prefix}{row}" for row in range(len(labels)))
        pictures += [
            Picture(
                name,
                name,
                int(label),
                str(label),
                f"{pair['images']} row {row}",
                _scaled(image, f"{pair['images']} row {row}", channels),
            )
            for row, (name, image, label) in enumerate(zip(names, pixels, labels, strict=True))
        ]
    return pictures


def _scaled(image: npt.NDArray[Any], where: str, channels: int | None) -> Callable[[], Decoded]:
    return lambda: Decoded(from_array(image, where, channels))


def read_idx(path: Path) -> npt.NDArray[Any]:
    """An array in the IDX format of MNIST, gzipped or not.

    Raises:
        InputError: If the file is not whole.
    """
    try:
        raw = path.read_bytes()
        data = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (OSError, EOFError) as error:
        raise InputError(str(path), f"a file that cannot be read ({error})", "an IDX file") from error
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in IDX_TYPES or len(data) < 4 + 4 * data[3]:
        raise InputError(str(path), f"the first bytes {data[:4]!r}", "an IDX file, as MNIST is distributed")
    shape = struct.unpack_from(f">{data[3]}I", data, 4)
    body, kind = data[4 + 4 * data[3] :], np.dtype(IDX_TYPES[data[2]])
    if len(body) != math.prod(shape) * kind.itemsize:
        expected = f"{math.prod(shape) * kind.itemsize} for {shape}"
        raise InputError(str(path), f"{len(body)} bytes of data", expected, "the file is not whole; download it again")
    return np.frombuffer(body, kind).reshape(shape)


def _hub(name: str, split: str | None, channels: int | None) -> list[Picture]:
    """Any image set on the hub that ``datasets`` reads."""
    import datasets

    try:
        table: Any = datasets.load_dataset(name, split=split or "test")
    except Exception as error:  # datasets raises many kinds: no network, no such set, no such split
        first = (str(error).splitlines() or [type(error).__name__])[0]
        expected = "`digits`, a folder that exists, or the id of an image set on the hub with a split"
        raise InputError("images.source", f"{name!r} ({first[:120]})", expected) from error
    return _table(table, name, channels)


def _saved(path: Path, split: str | None, channels: int | None) -> list[Picture]:
    """A folder that ``datasets`` saved."""
    import datasets

    try:
        found: Any = datasets.load_from_disk(str(path))
    except (OSError, ValueError, KeyError) as error:
        raise InputError("images.source", f"{path} ({error})"[:200], "a folder that `datasets` saved") from error
    if isinstance(found, dict):
        if (split or "test") not in found:
            raise InputError(
                "images.split", f"{split or 'test'!r}", f"one of {', '.join(cast('dict[str, Any]', found))}"
            )
        found = found[split or "test"]
    return _table(found, path.name, channels)


def _table(table: Any, name: str, channels: int | None) -> list[Picture]:
    """Pictures of a ``datasets`` table with a column of images and one of class labels."""
    import datasets

    features: dict[str, Any] = dict(table.features)
    image = next((key for key, kind in features.items() if isinstance(kind, datasets.Image)), None)
    label = next((key for key, kind in features.items() if isinstance(kind, datasets.ClassLabel)), None)
    if image is None or label is None:
        found = f"{name!r} with columns {', '.join(features)}"
        raise InputError("images.source", found, "a column of images and one of class labels")
    names: list[str] = features[label].names

    table = table.cast_column(image, datasets.Image(decode=False))  # what cannot be decoded is told by row

    def load(row: int) -> Callable[[], Decoded]:
        return lambda: from_value(table[row][image], f"{name} row {row}", Path("."), channels)

    labels: Iterator[tuple[int, int]] = enumerate(table[label])
    return [
        Picture(f"{name}#{row}", f"{row}", value, names[value], f"{name} row {row}", load(row)) for row, value in labels
    ]
