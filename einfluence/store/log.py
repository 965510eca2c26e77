"""The log says which parts of the tables count: numbered entries, each new one put in place in one step.

An entry adds units and removes units. A unit is what one block gave: its files are on the disk before its entry is,
so a killed run leaves at most files that no entry names. Of two writers of the same number one wins; the other reads
on, deletes what it wrote and no longer needs, and tries the next: no lock is held, and none can be left behind. Every
64th entry lists all units.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from einfluence.errors import InputError
from einfluence.keys import content_hash
from einfluence.store.files import Files, json_bytes

FOLDER = "log"
WHOLE_EVERY = 64


@dataclass(frozen=True)
class ArmKey:
    """One experimental arm of the table: everything of a cell's key but probe and query."""

    base: str
    estimator: str
    recipe: str
    seed: int
    engine_version: str


@dataclass(frozen=True)
class Unit:
    """Rows of the three tables that were committed together.

    Args:
        arm: The arm they belong to.
        files: File name by table.
        rows: Rows of ``influence``.
        outcomes: ``done`` or ``failed`` by probe_id; None for a unit that compaction made: its file says it.
        version: Number of the entry that added it.
    """

    arm: ArmKey
    files: Mapping[str, str]
    rows: int
    outcomes: Mapping[str, str] | None
    version: int = 0

    @property
    def unit_id(self) -> str:
        """Content hash of its files' names, which hold their checksums."""
        return content_hash(dict(self.files))


@dataclass(frozen=True)
class Change:
    """What an entry does: removes first, then adds."""

    add: tuple[Unit, ...] = ()
    remove: frozenset[str] = frozenset()


@dataclass
class LogState:
    """The units that count after an entry."""

    version: int = 0
    units: dict[str, Unit] = field(default_factory=dict[str, Unit])

    def apply(self, version: int, change: Change) -> None:
        """Advances to an entry."""
        for unit_id in change.remove:
            self.units.pop(unit_id, None)
        self.units |= {unit.unit_id: unit for unit in change.add}
        self.version = version


class Log:
    """The log of a store, read on from where it was read last."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._state = LogState()

    def state(self) -> LogState:
        """The units that count now.

        Raises:
            InputError: When an entry is damaged or lost.
        """
        if not self._state.version:
            self._start()
        while (path := self._files.get(entry_name(self._state.version + 1))) is not None:
            version = self._state.version + 1
            self._state.apply(version, _changes(read_entry(path.read_bytes(), path.name), version))
        return self._state

    def forget(self) -> None:
        """Reads the log from its beginning next time: entries were written anew."""
        self._state = LogState()

    def commit(self, decide: Callable[[LogState], Change | None]) -> bool:
        """Adds an entry.

        Args:
            decide: Given the state that the entry will follow, writes files and says what changes; None for nothing.
                Called again when another writer was first.

        Returns:
            Whether anything changed.
        """
        written: set[str] = set()
        while True:
            state = self.state()
            change = decide(state)
            if change is None:
                self.discard(written)
                return False
            version = state.version + 1
            entered = self._files.put(entry_name(version), _entry(state, version, change), new=True)
            written |= {name for unit in change.add for name in unit.files.values()}
            if entered:
                self.discard(written)
                return True

    def discard(self, names: Iterable[str]) -> None:
        """Deletes files that were written for an entry which another writer was ahead of, unless the log names them.

        No other writer is about to name one of them: whoever made the same file did not know of the entry that was
        first either, and has to look again as well.
        """
        names = set(names)
        if names:
            live = {name for unit in self.state().units.values() for name in unit.files.values()}
            for name in sorted(names - live):
                self._files.delete(name)

    def _start(self) -> None:
        numbers = entry_numbers(self._files)
        if not numbers:
            return
        last = max(numbers)
        whole = last // WHOLE_EVERY * WHOLE_EVERY
        lost = set(range(max(whole, 1), last + 1)) - numbers
        if lost:
            raise damaged(entry_name(min(lost)), "nothing")
        if whole:
            path = self._files.get(entry_name(whole))
            if path is None:
                raise damaged(entry_name(whole), "nothing")
            entry = read_entry(path.read_bytes(), path.name)
            self._state = LogState(whole, {unit.unit_id: unit for unit in _units(entry["all"], whole)})


def entry_name(version: int) -> str:
    """The file of an entry."""
    return f"{FOLDER}/{version:08d}.json"


def entry_numbers(files: Files) -> set[int]:
    """The entries that are there."""
    stems = (name.removeprefix(f"{FOLDER}/").removesuffix(".json") for name in files.names(FOLDER))
    return {int(stem) for stem in stems if stem.isdecimal()}


def read_entry(data: bytes, name: str) -> dict[str, Any]:
    """Reads an entry and holds it against its checksum.

    Raises:
        InputError: When it is damaged.
    """
    try:
        entry = cast("dict[str, Any]", json.loads(data))
        digest = entry.pop("digest")
        if digest != content_hash(entry):
            raise ValueError("its checksum differs")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(name, f"{error}") from error
    return entry


def write_entry(files: Files, version: int, state: LogState, change: Change) -> None:
    """Puts an entry in place of a damaged or lost one."""
    files.put(entry_name(version), _entry(state, version, change))


def replay(files: Files, until: int | None = None) -> tuple[LogState, list[int]]:
    """Reads every entry from the first on, past those that are damaged or lost.

    Args:
        files: The store's files.
        until: Stop before this entry.

    Returns:
        The state, and the numbers of the entries that could not be read.
    """
    state, bad = LogState(), list[int]()
    for version in range(1, max(entry_numbers(files), default=0) + 1 if until is None else until):
        path = files.get(entry_name(version))
        try:
            if path is None:
                raise damaged(entry_name(version), "nothing")
            entry = read_entry(path.read_bytes(), path.name)
            state.apply(version, _changes(entry, version))
            if "all" in entry:  # written by someone who had read what may be lost now
                state.units = {unit.unit_id: unit for unit in _units(entry["all"], version)}
        except InputError:
            bad.append(version)
            state.version = version
    return state, bad


def damaged(name: str, found: str) -> InputError:
    """The error for a log that cannot be read."""
    fix = "`einfluence verify --repair` mends it; what the entry added is computed anew by the next run"
    return InputError(f"the store's log, {name}", found, "an entry that agrees with its checksum", fix)


def _changes(entry: Mapping[str, Any], version: int) -> Change:
    return Change(tuple(_units(entry["add"], version)), frozenset(entry["remove"]))


def _units(found: Iterable[Mapping[str, Any]], version: int) -> Iterable[Unit]:
    for unit in found:
        yield Unit(ArmKey(**unit["arm"]), unit["files"], unit["rows"], unit["outcomes"], unit.get("version", version))


def _entry(state: LogState, version: int, change: Change) -> bytes:
    entry: dict[str, Any] = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "add": [_plain(unit, version) for unit in change.add],
        "remove": sorted(change.remove),
    }
    if version % WHOLE_EVERY == 0:
        after = LogState(state.version, dict(state.units))
        after.apply(version, change)
        entry["all"] = [_plain(unit, unit.version or version) for unit in after.units.values()]
    return json_bytes({**entry, "digest": content_hash(entry)})


def _plain(unit: Unit, version: int) -> dict[str, Any]:
    return {
        "arm": dict(vars(unit.arm)),
        "files": dict(unit.files),
        "rows": unit.rows,
        "outcomes": None if unit.outcomes is None else dict(unit.outcomes),
        "version": version,
    }
