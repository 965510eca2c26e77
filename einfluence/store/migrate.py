"""Carries a store of version 1 over: cells keep their numbers, and their recipes the ids that they have today.

In version 1 a recipe's id was over all of its fields, those of other adapters and optimizers included, and influence
was no column. A run that is killed on the way leaves a store of version 1, which can be carried over again.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from einfluence.arms import AnyArm, Arm
from einfluence.errors import InputError
from einfluence.keys import content_hash
from einfluence.recipe import of_its_kinds
from einfluence.store.files import MARKER, json_bytes, table_bytes
from einfluence.store.log import ArmKey, Change, LogState, Unit
from einfluence.store.marker import read_marker
from einfluence.store.schema import PARTED, STORE_VERSION, TABLES, completed
from einfluence.store.store import Store

_ARM = TypeAdapter[Arm](AnyArm)


def migrate(store: Store) -> int:
    """Carries a store over while nobody else writes to it.

    Args:
        store: Opened with ``check=False``.

    Returns:
        Cells that were carried over; 0 where the store is of today's version.

    Raises:
        InputError: When there is no store, or it is of another version than 1, or a part of it is damaged or lost.
    """
    marker = read_marker(store.files)
    if marker is None:
        fix = "`einfluence verify --repair` writes a lost einfluence.json anew"
        raise InputError(store.url, "no store", "what `einfluence run` has written to", fix)
    version = marker.get("store_version")
    if version == STORE_VERSION:
        return 0
    if version != 1:
        raise InputError(store.url, f"a store of version {version}", f"version 1 or {STORE_VERSION}")
    if not store.whole:
        fix = "`einfluence verify --repair` takes it out; the next run computes it anew"
        raise InputError(store.url, "parts that the log names and nobody has", "a store without faults", fix)
    arms, old = _arms(store)
    store.add_rows("recipes", [arm.row() for arm in arms.values()])
    cells = _move_units(store, arms)
    _move_deltas(store, arms)
    _move_scores(store, arms)
    for name in old:
        store.files.delete(name)
    if store.files.get("report.html") is not None:
        store.files.delete("report.html")  # it names recipes by their former ids; the next run writes it anew
    store.files.put(MARKER, json_bytes({**marker, "store_version": STORE_VERSION}))
    return cells


def moved(key: ArmKey, arms: dict[str, Arm]) -> ArmKey:
    """What an arm is called today; one whose recipe is unknown keeps its name, and nobody asks for it."""
    arm = arms.get(key.recipe)
    return key if arm is None else replace(key, recipe=arm.recipe_id, seed=key.seed if arm.recipe.draws else 0)


def _arms(store: Store) -> tuple[dict[str, Arm], list[str]]:
    """The arms by the ids of version 1, and the files that hold them."""
    arms: dict[str, Arm] = {}
    files: list[str] = []
    for name in store.files.names("recipes"):
        path = store.files.get(name)
        for row in pq.read_table(path).to_pylist() if path else ():
            recipe_of = {"estimator": row["estimator"], "recipe": json.loads(row["json"])}
            if _version_1(recipe_of) == row["recipe"]:  # neither one of today nor one that was left behind before
                arms[row["recipe"]] = _ARM.validate_python({**recipe_of, "recipe": of_its_kinds(recipe_of["recipe"])})
                files.append(name)
    return arms, files


def _version_1(recipe_of: dict[str, Any]) -> str:
    """A recipe's id as version 1 had it; those of chats were changed once, when chats no longer began with two bos."""
    whole = content_hash(recipe_of)
    return content_hash((whole, "one bos")) if recipe_of["recipe"].get("chat") else whole


def _move_units(store: Store, arms: dict[str, Arm]) -> int:
    """Writes every unit anew, then puts all of them in the place of the old ones at once."""
    ours = {unit.unit_id: unit for unit in store.units() if not _is_carried(store, unit)}
    made: dict[ArmKey, list[Unit]] = {}
    for unit in sorted(ours.values(), key=lambda unit: unit.arm.seed):
        arm = moved(unit.arm, arms)
        tables = {name: _rows(store, unit, name) for name in PARTED}
        # Seeds that changed nothing, and recipes that differed in nothing, are one arm now: the first takes precedence.
        left = store.parts.new_rows(made.get(arm, []), tables, -1)
        files = {name: store.parts.write(arm, name, table) for name, table in left.items() if table.num_rows}
        if files:
            made.setdefault(arm, []).append(Unit(arm, files, left["influence"].num_rows, unit.outcomes))
    units = tuple(unit for group in made.values() for unit in group)

    def decide(state: LogState) -> Change | None:
        if not ours.keys() <= state.units.keys():
            raise InputError(store.url, "another writer", "nobody else who writes while a store is carried over")
        return Change(units, frozenset(ours)) if ours else None

    store.log.commit(decide)
    return sum(unit.rows for unit in units)


def _is_carried(store: Store, unit: Unit) -> bool:
    """Whether a unit is of today's version already: one that was carried over before the run was killed."""
    path = store.files.get(unit.files["influence"]) if "influence" in unit.files else None
    return path is not None and "influence" in pq.read_schema(path).names


def _rows(store: Store, unit: Unit, name: str) -> pa.Table:
    """A unit's rows of a table, without the columns of its arm."""
    own = pa.schema([field for field in TABLES[name] if field.name not in vars(unit.arm)])
    path = store.files.get(unit.files[name]) if name in unit.files else None
    if path is None:
        return own.empty_table()
    rows = completed(pq.read_table(path, partitioning=cast("Any", None)), own)
    if name == "influence":
        change = rows["logprob_after"].to_numpy() - rows["logprob_before"].to_numpy()
        place = rows.schema.get_field_index("influence")
        rows = rows.set_column(place, own.field("influence"), pa.array(change))
    return rows


def _move_deltas(store: Store, arms: dict[str, Arm]) -> None:
    for name in store.files.names("deltas"):
        _, base, folder, file = name.split("/")
        recipe, seed, version = folder.rsplit("-", 2)
        old = ArmKey(base, "finetune", recipe, int(seed), version)
        new = moved(old, arms)
        path = store.files.get(name)
        if new != old and path is not None:
            store.files.put(f"{store.deltas.folder(new)}/{file}", path.read_bytes())
            store.files.delete(name)


def _move_scores(store: Store, arms: dict[str, Arm]) -> None:
    path = store.files.get("desiderata/current.parquet")
    if path is None:
        return
    table = pq.read_table(path)
    ids = [arms[one].recipe_id if one in arms else one for one in table["recipe"].to_pylist()]
    place = table.schema.get_field_index("recipe")
    table = table.set_column(place, table.schema.field("recipe"), pa.array(ids, pa.string()))
    store.files.put("desiderata/current.parquet", table_bytes(table))
