"""Rows of the user's own table of images: which picture, which class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from einfluence.curate.builder import Gates
from einfluence.curate.classes import ImageLimits, check_shape, label_of
from einfluence.curate.images.decode import Pixels, from_value, path_in
from einfluence.curate.records import check_ending, text_field
from einfluence.errors import InputError
from einfluence.keys import content_hash
from einfluence.samples import Sample

IMAGE_FIELDS = ("id", "image", "label")
FRAMES = "images of several frames or pages (the first is taken)"
TWO_CLASSES = "equal images in different classes"


class TwoClasses:
    """Counts pictures that are equal though their classes differ."""

    def __init__(self, gates: Gates) -> None:
        self._gates = gates
        self._first: dict[str, tuple[int, str]] = {}
        gates.open(TWO_CLASSES)

    def see(self, where: str, pixels: Pixels, label: int) -> None:
        """One more picture."""
        first, place = self._first.setdefault(content_hash(pixels), (label, where))
        if first != label:
            self._gates.count(TWO_CLASSES, f"{where} = {place}")


class ImageRows:
    """Makes samples of the rows of one file; the first picture's shape holds for all where the base's is not known."""

    def __init__(self, folder: Path, limits: ImageLimits, gates: Gates) -> None:
        self._folder, self._limits, self._gates = folder, limits, gates
        self._seen: TwoClasses | None = None

    def sample(self, where: str, fields: Mapping[str, Any], name: str) -> Sample:
        """The sample of a row.

        Raises:
            InputError: For a picture that cannot be read or has another shape, and a label that is no class.
        """
        for key in ("prompt", "target", "join", "template"):
            if key in fields:
                raise InputError(where, f"`{key}` in a file of images", f"the fields {', '.join(IMAGE_FIELDS)}")
        for key in ("image", "label"):
            if key not in fields:
                raise InputError(where, f"no `{key}`", f"the fields {', '.join(IMAGE_FIELDS)}")
        limits = self._limits
        label = label_of(f"{where} label", fields["label"], limits)
        channels = limits.shape[0] if limits.shape else None
        decoded = from_value(fields["image"], f"{where} image", self._folder, channels)
        pixels = limits.fitted(decoded.pixels)
        check_shape(f"{where} image", pixels.shape, limits.shape)
        if self._seen is None:
            self._gates.open(FRAMES)
            self._seen = TwoClasses(self._gates)
            self._limits = replace(limits, shape=(pixels.shape[0], pixels.shape[1], pixels.shape[2]))
        self._seen.see(where, pixels, label)
        self._gates.count(FRAMES, where, int(decoded.more))
        called = limits.name_of(label)
        return Sample(
            name=name,
            pixels=pixels,
            label=label,
            label_name=called,
            domain=text_field(where, fields, "group", called or str(label)),
            cluster=text_field(where, fields, "cluster", ""),
            source=where,
        )


def pictures_named(samples: Path, column: str = "") -> tuple[str, ...]:
    """The paths of pictures in a table, as written; none in a table of texts, or beyond a row that cannot be read.

    Args:
        samples: The file.
        column: The column of pictures, where it is neither `image` nor `file_name`.
    """
    columns = (column,) if column else ("image", "file_name")
    try:
        data = b"" if samples.suffix.lower() == ".parquet" else samples.read_bytes()
    except OSError:
        return ()
    if data and not any(sign in data for sign in (*(name.encode() for name in columns), b"\\u")):
        return ()
    found: dict[str, None] = {}
    try:
        for _, fields in check_ending(samples)(samples):
            path = path_in(next((fields[name] for name in columns if name in fields), None))
            if path is not None:
                found[path] = None
    except InputError:
        pass  # curation tells it; the table's own bytes are in the key as well
    return tuple(found)


def as_image_row(where: str, fields: dict[str, Any]) -> dict[str, Any]:
    """A row in which `file_name`, as ``datasets`` calls it, is the image, and the id where there is none."""
    if "file_name" not in fields:
        return fields
    if "image" in fields:
        raise InputError(where, "both `image` and `file_name`", f"the fields {', '.join(IMAGE_FIELDS)}")
    rest = {key: value for key, value in fields.items() if key != "file_name"}
    return {"id": fields["file_name"], "image": fields["file_name"], **rest}
