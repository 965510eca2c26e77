"""Fewer, larger parts, and no leftovers; safe beside readers and writers, and against being killed.

Merging writes the new parts first and then one log entry that puts them in the place of the old ones, so a reader
sees either. The old files stay for a while: a query that began before may still read them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from einfluence.store.files import TEMPORARY, Mirrored
from einfluence.store.log import ArmKey, Change, State, Unit
from einfluence.store.schema import PARTED, TABLES, completed

if TYPE_CHECKING:
    from einfluence.store.store import Store

ROWS = 1 << 20  # of influence in a merged unit: what is lost at most when a file is lost
FEW = 8  # units of an arm that are left as they are
DAY = 86_400.0


def tidy(store: Store, *, grace: float) -> None:
    """Merges the small units of each arm, then removes files that no entry has named for ``grace`` seconds.

    Args:
        store: The store.
        grace: Seconds; longer than any query takes.
    """
    for arm in dict.fromkeys(unit.arm for unit in store.units()):
        small = [unit for unit in store.units(arm) if unit.rows < ROWS // 2]
        if len(small) > FEW:
            for group in _groups(small):
                _merge(store, arm, group)
    _sweep(store, grace)


def _groups(units: list[Unit]) -> Iterator[list[Unit]]:
    group, rows = list[Unit](), 0
    for unit in units:
        if group and rows + unit.rows > ROWS:
            yield group
            group, rows = [], 0
        group.append(unit)
        rows += unit.rows
    if len(group) > 1:
        yield group


def _merge(store: Store, arm: ArmKey, units: list[Unit]) -> None:
    paths = {name: [store.files.get(unit.files[name]) for unit in units if name in unit.files] for name in PARTED}
    if any(path is None for found in paths.values() for path in found):
        return
    files, rows = dict[str, str](), 0
    for name, found in paths.items():
        if found:
            own = pa.schema([field for field in TABLES[name] if field.name not in vars(arm)])
            tables = [pq.read_table(path, partitioning=cast("Any", None)) for path in found]
            whole = pa.concat_tables([completed(table, own) for table in tables])
            whole = _best(whole) if name == "outcomes" else whole
            rows += whole.num_rows if name == "influence" else 0
            files[name] = store.write_part(arm, name, whole)
    merged = Unit(arm, files, rows, None)
    old = frozenset(unit.unit_id for unit in units) - {merged.unit_id}

    def decide(state: State) -> Change | None:
        # Another run may have merged them, or taken one away, since they were read.
        return Change((merged,), old) if old and old <= set(state.units) else None

    for name in {name for unit in units for name in unit.files.values()} - set(files.values()):
        store.files.touch(name)
    store.log.commit(decide)


def _best(outcomes: pa.Table) -> pa.Table:
    """One row for each probe; what succeeded outweighs an earlier failure."""
    done = outcomes.filter(pc.field("status") == "done")
    other = outcomes.filter(pc.field("status") != "done")
    known = pa.array(done["probe_id"].to_pylist(), pa.string())
    return pa.concat_tables([done, other.filter(~pc.field("probe_id").isin(known))])


def _sweep(store: Store, grace: float) -> None:
    files = store.files
    # Of an object its age is all that is known; a run that goes on may still be about to name a young one.
    limit = DAY if isinstance(files, Mirrored) else grace
    live = {name for unit in store.log.state().units.values() for name in unit.files.values()}
    for name in [name for table in PARTED for name in files.names(table)]:
        if name not in live and files.idle(name) > limit:
            files.delete(name)
    current = set(store.current_curations())
    for folder in store.curations():
        for table in ("relations", "distances") if folder not in current else ():
            name = f"curations/{folder.name}/{table}.parquet"
            if files.idle(name) > limit:
                files.delete(name)
    for name in files.names(TEMPORARY) if not isinstance(files, Mirrored) else ():
        if files.idle(name) > DAY:
            files.delete(name)
