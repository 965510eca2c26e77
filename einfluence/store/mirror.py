"""The files of a store in an object store: whole objects, put in one request, and read through a mirror in the cache.

What is written under a content hash never changes, so a mirrored file is read without asking again.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from einfluence.embedded import cache_folder
from einfluence.errors import InputError
from einfluence.keys import content_hash
from einfluence.store.files import MARKER, Files, unreadable, unwritable
from einfluence.store.schema import PARTED, SCORED
from einfluence.store.scores import SCORES_NOTE


class Mirrored(Files):
    """The files of a store in an object store, through fsspec, with a mirror in the user's cache.

    Of two writers of one name a conditional put lets one through (``If-None-Match``), which S3, MinIO and R2 have.

    Args:
        url: E.g. ``s3://bucket/prefix``. Credentials come from the environment and are never written anywhere.
    """

    LAZY = (*(f"{table}/" for table in PARTED), "deltas/", "states/", "log/", ".aside/")
    CHANGING = ("studies/", SCORES_NOTE, *(f"{table}/current.parquet" for table in SCORED), "report.html", MARKER)

    def __init__(self, url: str) -> None:
        super().__init__(cache_folder() / "stores" / content_hash(url.rstrip("/")))
        self.url = url.rstrip("/")
        self._system, self._base = _filesystem(self.url)

    def put(self, name: str, data: bytes, *, new: bool = False) -> bool:
        """As in a folder; the mirror follows."""
        try:
            self._system.pipe_file(f"{self._base}/{name}", data, mode="create" if new else "overwrite")
        except FileExistsError:
            return False
        except Exception as error:
            if new and "PreconditionFailed" in f"{error} {error.__cause__}":
                return False
            raise unwritable(f"{self.url}/{name}", error) from error
        return super().put(name, data)

    def get(self, name: str) -> Path | None:
        """As in a folder; downloads what the mirror lacks."""
        path = super().get(name)
        if path is not None:
            return path
        data = self._bytes(name)
        if data is None:
            return None
        super().put(name, data)
        return self.root / name

    def names(self, folder: str) -> list[str]:
        """As in a folder."""
        return sorted(self.sizes(folder))

    def sizes(self, folder: str) -> dict[str, int]:
        """As in a folder, by one listing."""
        return {name: int(entry["size"]) for name, entry in self._listed(folder).items()}

    def present(self, names: list[str]) -> set[str]:
        """As in a folder; one listing for each top folder."""
        tops = {name.split("/", 1)[0] for name in names}
        there = {name for top in tops for name in self._listed(top)}
        return there.intersection(names)

    def delete(self, name: str) -> None:
        """As in a folder."""
        try:
            self._system.rm_file(f"{self._base}/{name}")
        except FileNotFoundError:
            pass
        except Exception as error:
            raise unwritable(f"{self.url}/{name}", error) from error
        super().delete(name)

    def touch(self, name: str) -> None:
        """An object's time cannot be set; readers have the mirror."""

    def idle(self, name: str) -> float:
        """Seconds since an object was written."""
        try:
            modified = self._system.info(f"{self._base}/{name}").get("LastModified")
        except FileNotFoundError:
            return 0.0
        return time.time() - modified.timestamp() if modified is not None else 0.0

    def forget(self) -> None:
        """Empties the mirror, so that every file is read from the object store again."""
        gone = self.root.with_name(f".{self.root.name}-{secrets.token_hex(4)}")
        with suppress(FileNotFoundError):
            os.replace(self.root, gone)  # in one step: other processes find all of it or nothing
        shutil.rmtree(gone, ignore_errors=True)

    def pull(self) -> None:
        """Mirrors what is small and read often; parts of tables are fetched when they are read.

        Other processes of the machine read the same mirror meanwhile: what has changed is replaced in one step, and
        what they have put there since the listing stays.
        """
        begun = time.time()
        there = self._listed("")
        marker = self._mirrored(MARKER)
        if marker is not None and MARKER in there and marker != self._bytes(MARKER):
            self.forget()  # another store is there now
        for name in super().names(""):
            if name not in there and not name.startswith("."):
                stat = self._stat(name)
                if stat is not None and stat.st_mtime < begun - 1:  # clocks of file systems are coarse
                    (self.root / name).unlink(missing_ok=True)
        for name, entry in there.items():
            if name.startswith(self.LAZY):
                continue
            mirrored = self._mirrored(name) if name.startswith(self.CHANGING) else None
            if mirrored is None:
                self.get(name)
            elif not _same(mirrored, entry) and (data := self._bytes(name)) is not None:
                super().put(name, data)

    def _mirrored(self, name: str) -> bytes | None:
        with suppress(FileNotFoundError):
            return (self.root / name).read_bytes()
        return None

    def _bytes(self, name: str) -> bytes | None:
        try:
            return cast("bytes", self._system.cat_file(f"{self._base}/{name}"))
        except FileNotFoundError:
            return None
        except Exception as error:  # of whatever library the file system is made with
            raise unreadable(f"{self.url}/{name}", error) from error

    def _listed(self, folder: str) -> dict[str, dict[str, Any]]:
        """What the object store says of each object under a folder, by name."""
        place = f"{self._base}/{folder}".rstrip("/")
        try:
            self._system.invalidate_cache()
            found = cast("dict[str, dict[str, Any]]", self._system.find(place, detail=True))
        except FileNotFoundError:
            return {}
        except Exception as error:
            raise unreadable(self.url, error) from error
        return {path.removeprefix(f"{self._base}/"): entry for path, entry in found.items()}


def _same(data: bytes, entry: Mapping[str, Any]) -> bool:
    """Whether an object surely has these bytes: its ETag is their MD5 where it was put in one request."""
    tag = str(entry.get("ETag", "")).strip('"')
    return tag == hashlib.md5(data, usedforsecurity=False).hexdigest()


def files_at(root: str | Path) -> Files:
    """The files under a local folder or a URL.

    Raises:
        InputError: When the folder is a file, or nothing installed reads such a URL.
    """
    text = str(root)
    slip = re.match(r"(s3|gs|gcs|az|abfs|https?):/(?!/)", text)
    if slip or not text.strip() or "\0" in text:
        fix = f"Did you mean {slip[1]}://{text[slip.end() :].lstrip('/')}?" if slip else ""
        raise InputError("--store", repr(text), "a folder, or a URL such as s3://bucket/prefix", fix)
    text = text.removeprefix("file://")
    if "://" in text:
        return Mirrored(text)
    path = Path(os.path.abspath(os.path.expanduser(text)))
    try:
        if path.exists() and not path.is_dir():
            raise InputError("--store", f"{path}, which is a file", "a folder")
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise InputError("--store", f"{path} ({error.strerror})", "a folder that can be read") from error
    return Files(path)


def _filesystem(url: str) -> tuple[Any, str]:
    import fsspec

    try:
        return cast("tuple[Any, str]", fsspec.core.url_to_fs(url))  # pyright: ignore[reportPrivateImportUsage]
    except Exception as error:  # of whatever library the file system is made with
        fix = "pip install 'einfluence[s3]' for s3://"
        raise InputError("--store", f"{url} ({error})", "a folder, or a URL that fsspec reads", fix) from error
