"""When is a curation new? When the data settings, or the bytes of a file that they name, have changed."""

from __future__ import annotations

from pathlib import Path

from einfluence.embedded import data_folder
from einfluence.keys import content_hash, file_digest
from einfluence.spec import Part, Spec

VERSION = 4  # raise it when the same data would curate to something else
SETTINGS = {"facts", "samples", "probes", "queries", "relations", "images", "source", "distance", "pairs", "join"}


def data_key(part: Part, spec: Spec) -> str:
    """Content hash of a part's data: its settings, and the contents (not the names) of files and folders in them."""
    settings = part.model_dump(include=SETTINGS)
    files = {key: settings.pop(key) for key in ("samples", "probes", "queries", "relations")}
    for group, key in (("facts", "file"), ("images", "source"), ("source", "path")):
        if settings[group] is not None:
            files[group] = settings[group].pop(key)
    contents = {key: _contents(str(name), spec) for key, name in files.items() if name is not None}
    # Relative image paths in a samples file point beside it, so what stands there counts too.
    return content_hash((VERSION, settings, contents, _images_beside(part, spec)))


def _contents(name: str, spec: Spec) -> object:
    shipped = data_folder() / "facts" / f"{name}.yaml"
    path = shipped if shipped.is_file() else spec.path(name)
    if path.is_dir():
        return [(str(file.relative_to(path)), file_digest(file)) for file in sorted(path.rglob("*")) if file.is_file()]
    return file_digest(path) if path.is_file() else name


def _images_beside(part: Part, spec: Spec) -> object:
    if part.samples is None:
        return None
    folder = spec.path(part.samples).parent
    kinds = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".npy")
    files: list[Path] = [file for file in sorted(folder.rglob("*")) if file.suffix.lower() in kinds]
    return [(str(file.relative_to(folder)), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
