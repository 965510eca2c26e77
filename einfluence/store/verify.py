"""Reads a whole store and says what in it is damaged; sets that aside so that the next run computes it anew."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from einfluence.errors import InputError
from einfluence.keys import file_digest
from einfluence.store.curations import CURATED
from einfluence.store.files import MARKER, TEMPORARY
from einfluence.store.log import FOLDER, Change, LogState, entry_name, replay, write_entry
from einfluence.store.marker import write_marker
from einfluence.store.mirror import Mirrored
from einfluence.store.schema import DEFINED, PARTED, SCORED
from einfluence.store.scores import SCORES_NOTE, scored_files
from einfluence.store.states import NOTE, noted, tensors_of
from einfluence.store.store import Store

ASIDE = ".aside"
LOCKS = (".lock", ".going", ".waiting")
OURS = tuple(f"{folder}/" for folder in (*PARTED, FOLDER, "curations", "studies", "runs"))
CHECKED_BY_NAME = (*PARTED, *DEFINED, *SCORED, "deltas", "states", "bases", "recipes")
COUNTED = (*PARTED, *SCORED, "states")  # files of these count once something names them


@dataclass(frozen=True)
class Fault:
    """Something that is not as it was written.

    Args:
        name: The file.
        kind: ``damaged`` (its bytes are not those that were written), ``missing`` (it was written and is gone),
            ``foreign`` (nothing of einfluence wrote it; readers pass it by) or ``leftover`` (of a killed run or of
            merging; readers pass it by and it goes in time).
        detail: What was found.
    """

    name: str
    kind: Literal["damaged", "missing", "foreign", "leftover"]
    detail: str


def verify(store: Store, *, repair: bool = False) -> tuple[int, list[Fault]]:
    """Reads every file of a store and holds it against its checksum.

    Args:
        store: The store.
        repair: Move what is damaged or foreign into ``.aside`` (nothing is deleted) and take it out of the log.

    Returns:
        The number of files read, and the faults.

    Raises:
        InputError: When nothing there is of a store.
    """
    if isinstance(store.files, Mirrored):
        store.files.forget()
    state, unread = replay(store.files)
    faults = list(_log_faults(store, state, unread))
    names = [name for name in store.files.names("") if not name.startswith((f"{TEMPORARY}/", f"{ASIDE}/", *LOCKS))]
    if not any(name == MARKER or name.startswith(OURS) for name in names):
        raise InputError("--store", f"{store.url}, which holds no store", "what `einfluence run` has written to")
    notes = {**noted(store.files), **_scored(store)}
    live = {name for unit in state.units.values() for name in unit.files.values()} | notes.keys()
    for name in names:
        if not name.startswith(f"{FOLDER}/"):
            fault = _look_at(store, name, live)
            faults += [fault] if fault else []
    there = set(names)
    faults += [Fault(name, "missing", "what the log or a note names") for name in sorted(live - there)]
    faults += _missing_of_curations(store, there)
    if MARKER not in there:
        faults.append(Fault(MARKER, "missing", "the store's version"))
    if repair:
        _repair(store, state, unread, faults, notes)
    return len(names), faults


def _log_faults(store: Store, state: LogState, unread: list[int]) -> Iterator[Fault]:
    for version in unread:
        name = entry_name(version)
        found = store.files.present([name])
        yield Fault(name, "damaged" if found else "missing", "an entry of the log")
    known = {entry_name(version) for version in range(1, state.version + 1)}
    for name in store.files.names(FOLDER):
        if name not in known:
            yield Fault(name, "foreign", "no entry of the log")


def _look_at(store: Store, name: str, live: set[str]) -> Fault | None:
    path = store.files.get(name)
    if path is None:
        return Fault(name, "missing", "gone while it was looked for")
    top = name.split("/", 1)[0]
    if NOTE.fullmatch(name):
        return _look_at_note(name, path)
    if top in SCORED and path.name == "current.parquet":  # of versions that named scored tables so
        problem = _unparsable(str(path))
        if name not in live:
            return Fault(name, "leftover", "of an earlier scoring")
        return Fault(name, "damaged", problem) if problem else None
    if top in CHECKED_BY_NAME:
        digest = path.stem.rsplit(".", 1)[-1]
        if path.suffix not in (".parquet", ".safetensors") or len(digest) != 20:
            return Fault(name, "foreign", "not a name that einfluence gives")
        found = file_digest(path)
        if found != digest:
            return Fault(name, "damaged", f"checksum {found} ({path.stat().st_size:,} bytes)")
        if top in COUNTED and name not in live:
            return Fault(name, "leftover", "neither the log nor a note names it")
        return None
    if top == "curations":
        return _look_at_curation(store, name)
    if name == MARKER:
        known = isinstance((_json(str(path)) or {}).get("store_version"), int)
        return None if known else Fault(name, "damaged", "JSON that says no version of a store")
    if name in (SCORES_NOTE, "report.html") or top in ("studies", "runs"):
        problem = _unparsable(str(path))
        return Fault(name, "damaged", problem) if problem else None
    return Fault(name, "foreign", "not a name that einfluence gives")


def _look_at_note(name: str, path: Path) -> Fault | None:
    try:
        tensors_of(path)
    except InputError as error:
        return Fault(name, "damaged", error.found)
    return None


def _look_at_curation(store: Store, name: str) -> Fault | None:
    folder, _, file = name.rpartition("/")
    table = file.removesuffix(".parquet")
    if file != "done.json" and table not in (*CURATED, "report"):
        return Fault(name, "foreign", "not a name that einfluence gives")
    done = store.files.get(f"{folder}/done.json")
    if done is None:
        return Fault(name, "leftover", "of a curation that was not finished")
    about = _json(str(done))
    path = store.files.get(name)
    if about is None:
        return Fault(f"{folder}/done.json", "damaged", "JSON that cannot be read") if file == "done.json" else None
    if file != "done.json" and path is not None and file_digest(path) != about.get("checksums", {}).get(table):
        return Fault(name, "damaged", f"another checksum ({path.stat().st_size:,} bytes)")
    return None


def _scored(store: Store) -> dict[str, str]:
    """The note of the scored tables by the files that it names; a damaged one is passed over."""
    with suppress(InputError):
        return dict.fromkeys(scored_files(store.files).values(), SCORES_NOTE)
    return {}


def _missing_of_curations(store: Store, there: set[str]) -> Iterator[Fault]:
    current = {note.get("curation") for note in map(_json, _study_paths(store)) if note}
    for name in sorted(there):
        if name.startswith("curations/") and name.endswith("/done.json") and name.split("/")[1] in current:
            for table in CURATED:
                part = name.replace("done.json", f"{table}.parquet")
                if part not in there:
                    yield Fault(part, "missing", "of a curation in use")


def _study_paths(store: Store) -> list[str]:
    return [str(path) for path in (store.root / "studies").glob("*.json")]


def _unparsable(path: str) -> str | None:
    try:
        if path.endswith(".parquet"):
            pq.read_table(path)
        elif path.endswith(".json") and _json(path) is None:
            return "JSON that cannot be read"
    except (OSError, pa.ArrowInvalid, ValueError) as error:
        return str(error).splitlines()[0]
    return None


def _json(path: str) -> dict[str, Any] | None:
    try:
        with open(path, encoding="utf-8") as file:
            value = json.load(file)
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _repair(store: Store, state: LogState, unread: list[int], faults: list[Fault], notes: Mapping[str, str]) -> None:
    for fault in faults:
        if fault.kind in ("damaged", "foreign"):
            _set_aside(store, fault.name)
    _mend_log(store, unread)
    bad = {fault.name for fault in faults if fault.kind in ("damaged", "missing")}
    lost = frozenset(unit.unit_id for unit in state.units.values() if bad.intersection(unit.files.values()))
    if lost:
        store.log.commit(lambda now: Change(remove=lost & frozenset(now.units)) if lost & set(now.units) else None)
    for name in bad.intersection(notes):
        _set_aside(store, notes[name])  # what a note names counts as long as the note is there
    if MARKER in bad:
        write_marker(store.files)


def _mend_log(store: Store, unread: list[int]) -> None:
    """Empty entries take the place of lost ones; those that list all units are worked out from the entries before."""
    for version in unread:
        before, _ = replay(store.files, until=version)
        write_entry(store.files, version, before, Change())
    store.log.forget()


def _set_aside(store: Store, name: str) -> None:
    path = store.files.get(name)
    if path is None:
        return
    try:
        store.files.put(f"{ASIDE}/{name}", path.read_bytes())
        store.files.delete(name)
    except OSError as error:
        raise InputError(name, str(error), "a file that can be moved") from error
