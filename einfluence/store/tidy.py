"""Fewer, larger parts, and no leftovers; safe beside readers and writers, and against being killed.

Merging writes the new parts first and then one log entry that puts them in the place of the old ones, so a reader
sees either. The old files stay for a while: a query that began before may still read them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from einfluence.store.curations import Curations
from einfluence.store.files import TEMPORARY, Files
from einfluence.store.log import ArmKey, Change, Log, LogState, Unit
from einfluence.store.mirror import Mirrored
from einfluence.store.parts import Parts
from einfluence.store.schema import PARTED, TABLES, completed
from einfluence.store.scores import unscored
from einfluence.store.states import unnoted

ROWS = 1 << 20  # of influence in a merged unit: what is lost at most when a file is lost
FEW = 8  # units of an arm that are left as they are
DAY = 86_400.0


def merge_small(files: Files, log: Log, parts: Parts) -> None:
    """Merges the small units of each arm."""
    for arm in dict.fromkeys(unit.arm for unit in parts.units()):
        small = [unit for unit in parts.units(arm) if unit.rows < ROWS // 2]
        if len(small) > FEW:
            for group in _groups(small):
                _merge(files, log, parts, arm, group)


def sweep(files: Files, log: Log, curations: Curations, *, grace: float) -> None:
    """Deletes what nobody has read for ``grace`` seconds: longer than any query takes."""
    # Of an object its age is all that is known; a run may still be about to name a young one.
    limit = DAY if isinstance(files, Mirrored) else grace
    live = {name for unit in log.state().units.values() for name in unit.files.values()}
    parts = (name for table in PARTED for name in files.names(table) if name not in live)
    for name in (*parts, *unnoted(files), *unscored(files), *_superseded(curations)):
        if files.idle(name) > limit:
            files.delete(name)
    for name in files.names(TEMPORARY) if not isinstance(files, Mirrored) else ():
        if files.idle(name) > DAY:
            files.delete(name)


def _superseded(curations: Curations) -> Iterator[str]:
    """Relations of curations that no study uses."""
    current = set(curations.current())
    for folder in curations.all():
        for table in ("relations", "distances") if folder not in current else ():
            yield f"curations/{folder.name}/{table}.parquet"


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


def _merge(files: Files, log: Log, parts: Parts, arm: ArmKey, units: list[Unit]) -> None:
    paths = {name: [files.get(unit.files[name]) for unit in units if name in unit.files] for name in PARTED}
    if any(path is None for found in paths.values() for path in found):
        return
    made, rows = dict[str, str](), 0
    for name, found in paths.items():
        if found:
            own = pa.schema([field for field in TABLES[name] if field.name not in vars(arm)])
            tables = [pq.read_table(path, partitioning=cast("Any", None)) for path in found]
            whole = pa.concat_tables([completed(table, own) for table in tables])
            whole = _best(whole) if name == "outcomes" else whole
            rows += whole.num_rows if name == "influence" else 0
            made[name] = parts.write(arm, name, whole)
    merged = Unit(arm, made, rows, None)
    old = frozenset(unit.unit_id for unit in units) - {merged.unit_id}

    def decide(state: LogState) -> Change | None:
        # Another run may have merged them, or taken one away, since they were read.
        return Change((merged,), old) if old and old <= set(state.units) else None

    for name in {name for unit in units for name in unit.files.values()} - set(made.values()):
        files.touch(name)
    if not log.commit(decide):
        log.discard(made.values())


def _best(outcomes: pa.Table) -> pa.Table:
    """One row for each probe; what succeeded outweighs an earlier failure."""
    done = outcomes.filter(pc.field("status") == "done")
    other = outcomes.filter(pc.field("status") != "done")
    known = pa.array(done["probe_id"].to_pylist(), pa.string())
    return pa.concat_tables([done, other.filter(~pc.field("probe_id").isin(known))])
