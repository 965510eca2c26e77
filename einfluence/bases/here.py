"""A base's files on this machine, where its spec was read on another: looked for by name, known by their content."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from einfluence.bases.find import describe, fetched_again
from einfluence.embedded import cache_folder
from einfluence.errors import InputError
from einfluence.models.base import BaseInfo

ROOTS = "EINFLUENCE_BASES"


def found_here(info: BaseInfo, trust_remote_code: bool) -> BaseInfo:
    """The same base in the first folder of this machine that holds its content.

    Tried are the folder where it was found; one of the same name in each folder that ``EINFLUENCE_BASES`` lists and
    among the bases that were trained here; and for a base that is embedded or of the hub, where these are here.

    Raises:
        InputError: When none does.
    """
    tried: list[str] = []
    for folder in _places(info, trust_remote_code):
        if not folder.is_dir():
            tried.append(f"{folder} (no such folder)")
            continue
        try:
            there = describe(folder, info.label, str(folder), trust_remote_code, info.head).beginning(info.bos)
        except InputError as error:
            tried.append(f"{folder} ({error.found})")
            continue
        if there.base_id == (info.content or info.base_id):
            return replace(info, folder=str(folder))
        tried.append(f"{folder} (others, or changed since they were found)")
    expected = "the files that were found when the run began"
    fix = f"if they were changed, run it again; else copy them to this machine, into a folder that {ROOTS} lists"
    raise InputError(info.label, "; ".join(tried), expected, fix)


def _places(info: BaseInfo, trust_remote_code: bool) -> Iterator[Path]:
    found = Path(info.folder)
    yield found
    for root in filter(None, os.environ.get(ROOTS, "").split(os.pathsep)):
        yield Path(root).expanduser() / found.name
    trained = cache_folder() / "models" / found.name
    if trained.is_dir():
        yield trained
    fetched = fetched_again(info, trust_remote_code)  # last, since it may need a network
    if fetched is not None:
        yield fetched
