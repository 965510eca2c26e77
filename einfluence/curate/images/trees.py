"""Pictures in folders or in a zip: which there are, which split they belong to, and what their class is called."""

from __future__ import annotations

import os
import posixpath
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from einfluence.curate.images.decode import IMAGE_ENDINGS
from einfluence.curate.records import Record, read_jsonl, read_records_loosely
from einfluence.errors import InputError

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
SPLITS = (
    {"train", "training"},
    {"test", "testing", "eval", "evaluation"},
    {"val", "valid", "validation", "dev"},
)  # as `datasets` reads them
# What systems, file browsers and notebooks leave behind; all names with a dot in front count as well.
_LEFT_BEHIND = {
    "__macosx", "__pycache__", "@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found",
    "thumbs.db", "desktop.ini",
}  # fmt: skip


@dataclass(frozen=True)
class Tree:
    """The files of a folder or a zip, without hidden ones.

    Args:
        where: What errors name.
        names: Their names within it, with ``/``, in order.
        read: The bytes of one.
        path: Where one stands on this machine; None in a zip.
    """

    where: str
    names: tuple[str, ...]
    read: Callable[[str], bytes]
    path: Callable[[str], Path] | None = None

    @property
    def pictures(self) -> list[str]:
        """The names of pictures."""
        return [name for name in self.names if name.lower().endswith(IMAGE_ENDINGS)]

    @property
    def metadata(self) -> list[str]:
        """The names of metadata files, as ``datasets`` calls them."""
        return [name for name in self.names if posixpath.basename(name) in METADATA]

    def place(self, name: str) -> str:
        """What errors call a file."""
        return f"{self.where}:{name}" if self.path is None else str(Path(self.where) / name)


@dataclass(frozen=True)
class Labelled:
    """Pictures with the names of their classes.

    Args:
        root: The folder within the tree that was read, with ``/`` at its end, or nothing.
        classes: Name of the class by name of the picture.
        by_hand: Whether a metadata file says them; else the folders do.
        other: Files below the root that are no pictures, or that the metadata do not name.
    """

    root: str
    classes: Mapping[str, str]
    by_hand: bool = False
    other: Sequence[str] = field(default=())


def files_below(path: Path) -> dict[str, Path]:
    """The files below a folder by their names within it, without hidden ones and what systems leave behind."""
    start = len(os.path.join(path, ""))
    return {_printable(file[start:]): Path(file) for file in _walk(str(path), ())}


def folder_tree(path: Path) -> Tree:
    """The files below a folder; links to folders are followed, but not in circles."""
    found = files_below(path)

    def read(name: str) -> bytes:
        try:
            return found[name].read_bytes()
        except OSError as error:
            raise InputError(str(found[name]), f"a file that cannot be read ({error.strerror})", "an image") from error

    return Tree(str(path), tuple(sorted(found)), read, found.__getitem__)


def zip_tree(path: Path) -> Tree:
    """The files in a zip.

    Raises:
        InputError: If it is none, or needs a password.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise InputError("images.source", f"{path}: {error}", "a zip file") from error
    found: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = posixpath.normpath(info.filename.replace("\\", "/").lstrip("/"))
        if not info.is_dir() and not info.filename.endswith("\\") and not _hidden(name):
            found[_printable(name)] = info
    if any(info.flag_bits & 1 for info in found.values()):
        archive.close()
        raise InputError("images.source", f"{path}, which needs a password", "a zip without one", "unpack it")

    def read(name: str) -> bytes:
        try:
            return archive.read(found[name])
        except Exception as error:  # BadZipFile, zlib.error, lzma's, bz2's, struct's, NotImplementedError, ...
            raise InputError(
                f"{path}:{name}", f"a file that cannot be unpacked ({error})", "a whole zip file"
            ) from error

    return Tree(str(path), tuple(sorted(found)), read)


def labelled(tree: Tree, split: str | None) -> Labelled:
    """Finds the pictures of a split and what their classes are called.

    Folders that hold nothing but one folder are passed through. Then ``split/class/picture`` or
    ``class/split/picture``; without a split, ``class/picture``. A metadata file with ``file_name`` and ``label`` takes
    precedence over folders.

    Raises:
        InputError: For a split that is not there or is not said where there are several, pictures without a class,
            or a class folder within another.
    """
    rows = _metadata(tree)
    shown = [name for name in tree.pictures if not rows or name in rows]
    root, shown = _within(tree, shown, split)
    below = [name for name in tree.names if name.startswith(root) and posixpath.basename(name) not in METADATA]
    if not shown:
        raise InputError("images.source", f"{tree.where} with 0 images", "a folder of class folders with images")
    chosen = set(shown)
    other = [name for name in below if name not in chosen]
    if rows:
        return Labelled(root, {name: rows[name] for name in shown}, True, other)
    return Labelled(root, _by_folder(tree, root, shown, split), False, other)


def _within(tree: Tree, names: list[str], split: str | None) -> tuple[str, list[str]]:
    """The folder that holds the split, and the pictures in it."""
    root, roots = "", [""]
    while (deeper := _only_folder(tree, names, root)) is not None:
        root = deeper
        roots.append(root)
    if split is None:
        _one_split(tree, names, root)
        return root, names
    for folder in roots:
        for alike in (split.strip("/"), *sorted(_splits_like(split) - {split})):
            inside = [name for name in names if name.startswith(f"{folder}{alike}/")]
            if inside:
                return f"{folder}{alike}/", inside
    last = [name for name in names if _split_of(posixpath.basename(posixpath.dirname(name)))]
    if len(last) == len(names) and any(name.count("/") > root.count("/") + 1 for name in names):
        wanted = _splits_like(split)
        inside = [name for name in names if posixpath.basename(posixpath.dirname(name)) in wanted]
        if inside:
            return root, inside
    heads = sorted({name[len(root) :].split("/")[0] for name in names if "/" in name[len(root) :]})
    shown = f"folders {', '.join(heads[:10])}" if heads else "no folders"
    found = f"no folder {split!r} with images in {tree.where}, but {shown}"
    raise InputError("images.split", found, "the name of a folder in the source, or no `split` where there is none")


def _only_folder(tree: Tree, names: Sequence[str], root: str) -> str | None:
    """The one folder that all pictures below ``root`` stand in, if their classes stand deeper still."""
    rest = [name[len(root) :] for name in names]
    heads = {name.split("/")[0] for name in rest}
    if len(heads) != 1 or not all(name.count("/") > 1 for name in rest):
        inside = bool(rest) and len(heads) == 1 and all("/" in name for name in rest)
        marked = inside and any(name.startswith(f"{root}{next(iter(heads))}/") for name in tree.metadata)
        return f"{root}{heads.pop()}/" if marked else None
    return f"{root}{heads.pop()}/"


def _one_split(tree: Tree, names: Sequence[str], root: str) -> None:
    """Refuses pictures of several splits: train and test are not to be mixed unseen."""
    rest = [name[len(root) :].split("/")[:-1] for name in names]
    by_rows = bool(tree.metadata)
    first = {part[0] for part in rest if _split_of(part[0] if part else "") and (len(part) > 1 or by_rows)}
    last = {part[-1] for part in rest if len(part) > 1 and _split_of(part[-1])}
    last = last if all(part and _split_of(part[-1]) for part in rest) else set()
    flat = {part[0] for part in rest if len(part) == 1 and _split_of(part[0])}
    flat = flat if len(flat) > 1 and all(len(part) == 1 and _split_of(part[0]) for part in rest) else set()
    others = any(part and part[0] not in first for part in rest)
    for found in (first if len(first) > 1 or first and others else set(), last if len(last) > 1 else set()):
        if found:
            splits = sorted(found)
            named = f"the split{'s' if len(splits) > 1 else ''} {', '.join(splits)} in {tree.where}"
            raise InputError("images.split", f"nothing, and {named}", "the one to take", f"write `split: {splits[0]}`")
    if flat:
        found = f"{tree.where} with {', '.join(sorted(flat))}, which hold images and no class folders"
        raise InputError("images.source", found, "class folders in each split, or a metadata file with `label`")


def _by_folder(tree: Tree, root: str, names: Sequence[str], split: str | None) -> dict[str, str]:
    """Class names by the folders below ``root``, without what all of them share."""
    parts = {name: name[len(root) :].split("/")[:-1] for name in names}
    loose = [name for name, part in parts.items() if not part]
    if loose:
        found = f"{tree.where} with {len(names)} images, {len(loose)} of them without a class folder: {loose[0]}"
        fix = "or a metadata.csv of `file_name` and `label` beside them"
        raise InputError("images.source", found, "a folder of class folders with images", fix)
    while len({part[0] for part in parts.values()}) == 1 and all(len(part) > 1 for part in parts.values()):
        parts = {name: part[1:] for name, part in parts.items()}
    while (
        (len({tuple(part) for part in parts.values()}) > 1 or split)
        and len({part[-1] for part in parts.values()}) == 1
        and all(len(part) > 1 for part in parts.values())
    ):
        parts = {name: part[:-1] for name, part in parts.items()}
    classes = {name: "/".join(part) for name, part in parts.items()}
    known = set(classes.values())
    for inner in sorted(known):
        outer = next((inner[:at] for at, sign in enumerate(inner) if sign == "/" and inner[:at] in known), None)
        if outer:
            found = f"images in the folder {outer!r} and in {inner!r} within it"
            raise InputError("images.source", found, "class folders that stand in no other", "move one of them")
    return classes


def _metadata(tree: Tree) -> dict[str, str]:
    """Class names by picture, from the metadata files that have a `label`."""
    classes: dict[str, tuple[str, str]] = {}
    known = set(tree.names)
    for file in tree.metadata:
        for where, fields in _rows(tree, file):
            if "label" not in fields:
                if _in_folders(tree, file):
                    break  # it describes the pictures, and the folders say the classes
                found = f"no `label` (but {', '.join(fields)})"
                raise InputError(where, found, "the columns file_name and label", "call the class's column `label`")
            named = fields.get("file_name")
            if not isinstance(named, str):
                raise InputError(where, "no `file_name`", "the columns file_name and label")
            name = posixpath.normpath(posixpath.join(posixpath.dirname(file), named.replace("\\", "/")))
            if name not in known:
                raise InputError(f"{where} file_name", f"{named!r}, which is not there", "an image beside this file")
            label = _label(where, fields["label"])
            if classes.setdefault(name, (label, where))[0] != label:
                found = f"the label {label!r} for {named}, which is {classes[name][0]!r} at {classes[name][1]}"
                raise InputError(f"{where} label", found, "one label for each image")
    return {name: label for name, (label, _) in classes.items()}


def _in_folders(tree: Tree, file: str) -> bool:
    folder = posixpath.dirname(file)
    start = f"{folder}/" if folder else ""
    inside = [name[len(start) :] for name in tree.pictures if name.startswith(start)]
    return bool(inside) and all("/" in name for name in inside)


def _label(where: str, value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        raise InputError(f"{where} label", f"{value!r:.80}", "the name or the index of one class")
    return str(value).strip()


def _rows(tree: Tree, file: str) -> Iterator[Record]:
    """The rows of a metadata file, wherever it stands."""
    reader = read_jsonl if file.endswith(".jsonl") else read_records_loosely
    if tree.path is not None:
        yield from reader(tree.path(file))
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / posixpath.basename(file)
        copy.write_bytes(tree.read(file))
        try:
            for where, fields in reader(copy):
                yield where.replace(str(copy), tree.place(file)), fields
        except InputError as error:
            where = error.where.replace(str(copy), tree.place(file))
            raise InputError(where, error.found, error.expected, error.fix) from error


def _walk(folder: str, above: tuple[str, ...]) -> Iterator[str]:
    real = os.path.realpath(folder)
    if real in above:
        return
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(folder, f"a folder that cannot be read ({error.strerror})", "a readable folder") from error
    for entry in entries:
        if not _hidden(entry.name):
            if entry.is_dir():
                yield from _walk(entry.path, (*above, real))
            elif entry.is_file() or entry.is_symlink():
                yield entry.path


def _hidden(name: str) -> bool:
    return any(part.startswith(".") or part.lower() in _LEFT_BEHIND for part in name.split("/"))


def _printable(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _split_of(name: str) -> set[str] | None:
    return next((words for words in SPLITS if name.lower() in words), None)


def _splits_like(split: str) -> set[str]:
    words = _split_of(split) or set()
    return {split, *words, *(word.capitalize() for word in words)}
