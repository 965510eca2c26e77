"""When is a curation new? When its settings have changed, or the bytes of a file that it reads, and only then.

The files are those that curation would read: a table and the pictures that it names, the pictures of the split, the
folder of a distance's encoder. What else lies beside them, and their times, do not count.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from einfluence.curate.images.decode import IMAGE_ENDINGS, beside
from einfluence.curate.images.rows import pictures_named
from einfluence.curate.images.sources import files_read
from einfluence.curate.images.trees import files_below
from einfluence.curate.rows.table import Table, place_of
from einfluence.digests import digest
from einfluence.embedded import data_folder
from einfluence.keys import content_hash
from einfluence.spec import Part, Spec

VERSION = 7  # raise it when the same data would curate to something else
SETTINGS = {
    "facts", "samples", "probes", "queries", "relations", "images", "source", "classes", "distance", "pairs", "join",
}  # fmt: skip
LATER = {
    "fields",
    "extra",
    "chat",
    "noise",
    "label_flip",
    "near_duplicates",
    "paraphrases",
    "text_pairs",
}  # settings that came later; they count where they are not the default


def data_key(part: Part, spec: Spec) -> str:
    """Content hash of a part's data: its settings, and the contents (not the names) of files and folders in them."""
    settings = part.model_dump(include=SETTINGS)
    settings |= part.model_dump(include=LATER, exclude_defaults=True)
    if settings["classes"] is None:
        del settings["classes"]
    read: dict[str, object] = {"samples": None}
    for name in ("probes", "queries", "relations"):
        file = settings.pop(name)
        read[name] = None if file is None else _contents(spec.path(file), file)
    samples = settings.pop("samples")
    if samples is not None:
        table = Table(place_of(samples, spec.folder), part.fields)
        read["samples"] = _rows(table, samples)
        read["pictures"] = _pictures(table)
    if part.chat_template is not None:
        read["chat_template"] = _contents(spec.path(part.chat_template), part.chat_template)
    if part.training_set is not None:  # counts where it is not the default
        settings |= part.training_set.model_dump(include={"by", "flip_labels"}, exclude_defaults=True)
    then = part.training_set.then if part.training_set else None
    if then is not None:
        table = Table(place_of(then.samples, spec.folder), part.fields)
        read["then"] = _rows(table, then.samples), _pictures(table)
    held_out = part.training_set.held_out if part.training_set else None
    if held_out is not None:
        table = Table(place_of(held_out, spec.folder), part.fields)
        read["held_out"] = _rows(table, held_out), _pictures(table)
    if part.facts is not None:
        file = settings["facts"].pop("file")
        shipped = data_folder() / "facts" / f"{file}.yaml"
        read["facts"] = _contents(shipped if shipped.is_file() else spec.path(file), file)
    if part.source is not None:
        place = settings["source"].pop("path")
        read["source"] = _contents(spec.path(place), place)
    if part.images is not None:
        found = files_read(part.images, spec)
        if found is not None:
            del settings["images"]["source"]
            read["images"] = [(name, kind, _digest(file)) for name, kind, file in found]
    encoders = [name.removeprefix("embedder:") for name in part.distance]
    read["encoders"] = [_contents(Path(name), name) for name in encoders if Path(name).is_dir()]
    return content_hash((VERSION, settings, read))


def _contents(path: Path, name: str) -> object:
    """The digest of a file, or of each file in a folder; the name of what is neither, such as a hub id."""
    try:
        if not path.is_dir():
            return _digest(path) or name
    except (OSError, ValueError):  # a name that no file can have
        return name
    return [(below, _digest(file)) for below, file in sorted(files_below(path).items()) if not _drawn(below)]


def _drawn(name: str) -> bool:
    """Whether a file is a picture: a figure beside texts changes nothing in them."""
    return name.lower().endswith(IMAGE_ENDINGS) and not name.lower().endswith(".npy")


def _rows(table: Table, name: str) -> object:
    """As :func:`_contents`, of a table of samples; the digests of the files of one split."""
    if isinstance(table.place, tuple):
        return [(file.name, _digest(file)) for file in table.place]
    return _contents(Path(table.place), name)


def _pictures(table: Table) -> object:
    """The digest of every picture that a table names, by its name there."""
    if not isinstance(table.place, Path) or (own := _digest(table.place)) is None:
        return None
    names = _named(table.place, own, table.fields.get("image", table.fields.get("file_name", "")))
    return [(name, _digest(beside(table.folder, name))) for name in names]


@lru_cache(maxsize=8)
def _named(samples: Path, _digest: str, column: str) -> tuple[str, ...]:
    return pictures_named(samples, column)


def _digest(file: Path) -> str | None:
    """The digest of a file's bytes; None where there is no file that can be read."""
    try:
        return digest(file) if file.is_file() else None
    except (OSError, ValueError):
        return None
