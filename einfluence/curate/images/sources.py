"""Where images come from: the shipped digits, folders, zips, IDX files, .npz and any ``datasets`` image set."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from einfluence.curate.builder import Gates
from einfluence.curate.classes import ImageLimits, is_number, labels_of
from einfluence.curate.images.decode import Decoded, Pixels, decode, from_array, from_value
from einfluence.curate.images.idx import idx_files, idx_pair, read_pair
from einfluence.curate.images.npz import read_npz
from einfluence.curate.images.trees import Tree, files_below, folder_tree, labelled, zip_tree
from einfluence.errors import InputError
from einfluence.spec import Images, Spec

PASSED_OVER = "files passed over (no images, or not in the metadata)"


@dataclass(frozen=True)
class Picture:
    """One image, not yet read.

    Args:
        name: What people call it.
        key: What draws go by: its name within the source, without the machine's path.
        label: Class index.
        label_name: What the base, or else the source, calls the class; None where it is just the number.
        domain: What results are compared by: the class.
        where: What errors name.
        load: Reads the pixels.
    """

    name: str
    key: str
    label: int
    label_name: str | None
    domain: str
    where: str
    load: Callable[[], Decoded]


def load_pictures(images: Images, spec: Spec, limits: ImageLimits, gates: Gates) -> Sequence[Picture]:
    """All images of a source.

    Args:
        images: Its ``source`` is ``digits``, a folder, a zip of folders, IDX files, a .npz, or a ``datasets`` id.
        spec: For relative paths.
        limits: The base's classes, and its channels: 1 or 3 turn colours into grey or back.
        gates: Counts what is passed over.

    Raises:
        InputError: If there is nothing of the kind, or a name or number in it is no class of the base.
    """
    if images.source == "digits":
        return _digits(images.split, limits)
    path = spec.path(images.source)
    if path.is_dir():
        if (path / "dataset_info.json").exists() or (path / "dataset_dict.json").exists():
            return _saved(path, images.split, limits)
        files = idx_files(path)
        if files:
            return _idx(path, files, images.split, limits)
        tree = folder_tree(path)
        if not tree.pictures and any(name.endswith((".parquet", ".arrow")) for name in tree.names):
            return _hub(str(path), images.split, limits)
        return _tree(tree, images.split, limits, gates)
    if path.is_file() and path.suffix.lower() == ".zip":
        return _tree(zip_tree(path), images.split, limits, gates)
    if path.is_file() and path.suffix.lower() == ".npz":
        prefix, pixels, labels = read_npz(path, images.split)
        return _arrays(prefix, pixels, labels, (f"{path} {prefix}images", f"{path} {prefix}labels"), limits)
    if path.exists():
        fix = "unpack it into a folder" if ".tar" in path.name or path.suffix in (".tgz", ".rar", ".7z", ".gz") else ""
        found = f"the file {images.source!r}"
        raise InputError("images.source", found, "a folder, a .zip of folders, a .npz, or a hub id", fix)
    return _hub(images.source, images.split, limits)


def files_read(images: Images, spec: Spec) -> list[tuple[str, str, Path]] | None:
    """The files that :func:`load_pictures` reads, as (name, name of its class, place); None where it reads none."""
    path = spec.path(images.source)
    if images.source == "digits" or not path.exists():
        return None
    if path.is_file():
        return [("", "", path)]
    if (path / "dataset_info.json").exists() or (path / "dataset_dict.json").exists():
        written = files_below(path)  # datasets puts what it has computed itself beside the data
        return [(name, "", file) for name, file in sorted(written.items()) if not file.name.startswith("cache-")]
    files = idx_files(path)
    if files:
        return [(file.name, "", file) for file in files]
    tree = folder_tree(path)
    try:
        classes = labelled(tree, images.split).classes
        names = {**dict.fromkeys(tree.metadata, ""), **classes}
    except InputError:  # curation tells it
        names = dict.fromkeys(tree.names, "")
    place = tree.path or Path
    return [(name, kind, place(name)) for name, kind in sorted(names.items())]


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


def _digits(split: str | None, limits: ImageLimits) -> list[Picture]:
    pixels, labels, rows = digits(split)
    names = [f"digit{row}" for row in rows]
    places = [f"digits row {row}" for row in rows]
    channels = limits.shape[0] if limits.shape else None
    loads = [_given(from_array(image, name, channels)) for image, name in zip(pixels, names, strict=True)]
    return _numbered(names, [int(label) for label in labels], places, loads, limits, "images.source digits")


def _given(pixels: Pixels) -> Callable[[], Decoded]:
    return lambda: Decoded(pixels)


def _numbered(
    names: Sequence[str],
    labels: Sequence[int],
    places: Sequence[str],
    loads: Sequence[Callable[[], Decoded]],
    limits: ImageLimits,
    where: str,
) -> list[Picture]:
    """Pictures whose source gives indices of classes."""
    found = _indices(labels, limits, where)
    rows = zip(names, labels, places, loads, strict=True)
    return [
        Picture(name, name, found[label], *_called(str(label), found[label], limits), place, load)
        for name, label, place, load in rows
    ]


def _indices(labels: Iterable[int], limits: ImageLimits, where: str) -> dict[int, int]:
    """Classes by index; the part's own `classes` hold for numbers as well, a base's names do not."""
    known = limits if limits.written else ImageLimits(limits.n_classes)
    names = [str(label) for label in sorted(set(labels))]
    return {int(name): label for name, label in labels_of(names, known, where).items()}


def _called(name: str, label: int, limits: ImageLimits) -> tuple[str | None, str]:
    """The name of a class, and what results are compared by."""
    called = limits.name_of(label) or (None if is_number(name) else name)
    return called, called or name


def _tree(tree: Tree, split: str | None, limits: ImageLimits, gates: Gates) -> list[Picture]:
    """Pictures in class folders or named by a metadata file."""
    found = labelled(tree, split)
    gates.open(PASSED_OVER)
    gates.count(PASSED_OVER, tree.place(found.other[0]) if found.other else "", len(found.other))
    counts = Counter(found.classes.values())
    if found.by_hand and all(map(is_number, counts)):
        indices = _indices(map(int, counts), limits, tree.where)
        labels = {name: indices[int(name)] for name in counts}
    else:
        labels = labels_of(list(counts), limits, tree.where)
    channels = limits.shape[0] if limits.shape else None

    def load(name: str) -> Callable[[], Decoded]:
        return lambda: decode(tree.read(name), tree.place(name), channels)

    start = len(found.root) if split else 0
    return [
        Picture(
            posixpath.splitext(name[start:])[0] if tree.path else name,
            name[start:],
            labels[kind],
            *_called(kind, labels[kind], limits),
            tree.place(name),
            load(name),
        )
        for name, kind in found.classes.items()
    ]


def _idx(path: Path, files: Sequence[Path], split: str | None, limits: ImageLimits) -> list[Picture]:
    prefix, images, labels_file = idx_pair(path, files, split)
    return _arrays(prefix, *read_pair(images, labels_file), (str(images), str(labels_file)), limits)


def _arrays(
    prefix: str, pixels: npt.NDArray[Any], labels: list[int], where: tuple[str, str], limits: ImageLimits
) -> list[Picture]:
    """Pictures that are rows of one array; ``where`` its numbers and its labels are."""
    channels = limits.shape[0] if limits.shape else None
    places = [f"{where[0]} row {row}" for row in range(len(labels))]

    def load(row: int) -> Callable[[], Decoded]:
        return lambda: Decoded(from_array(pixels[row], places[row], channels))

    names = [f"{prefix}{row}" for row in range(len(labels))]
    return _numbered(names, labels, places, [load(row) for row in range(len(labels))], limits, where[1])


def _hub(name: str, split: str | None, limits: ImageLimits) -> list[Picture]:
    """Any image set that ``datasets`` reads: on the hub, as ``id[@revision]``, or a folder of its files."""
    import datasets

    identity, _, revision = (name, "", "") if Path(name).is_dir() else name.partition("@")
    try:
        table: Any = datasets.load_dataset(identity, split=split or "test", revision=revision or None)
    except Exception as error:  # datasets raises many kinds: no network, no such set, no such split
        first = (str(error).splitlines() or [type(error).__name__])[0]
        expected = "`digits`, a folder that exists, or the id of an image set on the hub with a split"
        raise InputError("images.source", f"{name!r} ({first[:120]})", expected) from error
    return _table(table, name, limits)


def _saved(path: Path, split: str | None, limits: ImageLimits) -> list[Picture]:
    """A folder that ``datasets`` saved."""
    import datasets

    try:
        found: Any = datasets.load_from_disk(str(path))
    except Exception as error:  # pyarrow's errors for a damaged file, and all that datasets raises
        raise InputError("images.source", f"{path} ({error})"[:200], "a folder that `datasets` saved") from error
    if isinstance(found, dict):
        if (split or "test") not in found:
            raise InputError(
                "images.split", f"{split or 'test'!r}", f"one of {', '.join(cast('dict[str, Any]', found))}"
            )
        found = found[split or "test"]
    return _table(found, path.name, limits)


def _table(table: Any, name: str, limits: ImageLimits) -> list[Picture]:
    """Pictures of a ``datasets`` table with a column of images and one of labels: class labels, numbers or words."""
    import datasets

    image, label = _columns(table, name, limits)
    kind: Any = table.features[label]
    values: list[Any] = list(table[label])
    place = [f"{name} row {row}" for row in range(len(values))]
    for where, value in zip(place, values, strict=True):
        _check_value(where, value)
    if isinstance(kind, datasets.ClassLabel):
        own: list[str] = kind.names
        missing = next((row for row, value in enumerate(values) if not 0 <= value < len(own)), None)
        if missing is not None:
            raise InputError(place[missing], f"the label {values[missing]}", f"a class from 0 to {len(own) - 1}")
        present = [own[index] for index in sorted(set(values))]
        found = labels_of(present if limits.names or all(map(is_number, own)) else own, limits, name, sort=False)
        called = [own[value] for value in values]
    elif all(isinstance(value, str) for value in values) and not all(map(is_number, values)):
        found = labels_of(sorted(set(values)), limits, name)
        called = [str(value) for value in values]
    else:
        called = [str(int(value)) for value in values]
        found = {str(index): at for index, at in _indices(map(int, called), limits, name).items()}
    table = table.cast_column(image, datasets.Image(decode=False))  # what cannot be decoded is reported by row
    channels = limits.shape[0] if limits.shape else None

    def load(row: int) -> Callable[[], Decoded]:
        return lambda: from_value(table[row][image], place[row], Path("."), channels)

    return [
        Picture(f"{name}#{row}", f"{row}", found[kind], *_called(kind, found[kind], limits), place[row], load(row))
        for row, kind in enumerate(called)
    ]


def _columns(table: Any, name: str, limits: ImageLimits) -> tuple[str, str]:
    """The columns of images and of labels, if it is clear which they are."""
    import datasets

    features: dict[str, Any] = dict(table.features)
    images = [key for key, kind in features.items() if isinstance(kind, datasets.Image)]
    images = [key for key in images if key in ("image", "img")] or images
    classes = [key for key, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
    fitting = [key for key in classes if len(features[key].names) == limits.n_classes]
    named = [key for key in features if key in ("label", "labels") and key not in images]
    labels = next((keys for keys in (named, classes if len(classes) == 1 else fitting, classes) if keys), [])
    if len(images) != 1 or len(labels) != 1:
        found = f"{name!r} with columns {', '.join(features)}"
        fix = "rename the columns to `image` and `label` and save it with `save_to_disk`" if images and labels else ""
        raise InputError("images.source", found, "a column of images and one of class labels", fix)
    return images[0], labels[0]


def _check_value(where: str, value: object) -> None:
    whole = isinstance(value, str | int) or isinstance(value, float) and value.is_integer()
    if not whole or value == "":
        raise InputError(where, f"the label {value!r:.80}", "one class index or class name")
