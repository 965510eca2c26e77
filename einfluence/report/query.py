"""The report's reading of a store: named SQL files, and the arms that every section speaks of."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, cast

import duckdb
import pyarrow as pa

from einfluence.metrics import clusters
from einfluence.report.theme import SHAPES
from einfluence.visible import visible

Rows = list[dict[str, Any]]


@cache
def _sql(name: str) -> str:
    return (resources.files("einfluence.report") / "sql" / f"{name}.sql").read_text(encoding="utf-8")


def table(connection: duckdb.DuckDBPyConnection, name: str, /, **parameters: object) -> pa.Table:
    """The result of :file:`sql/{name}.sql` as an Arrow table."""
    return connection.sql(_sql(name), params=parameters or None).to_arrow_table()


def rows(connection: duckdb.DuckDBPyConnection, name: str, /, **parameters: object) -> list[dict[str, Any]]:
    """The result of :file:`sql/{name}.sql` as one mapping a row, as :func:`shown` gives it."""
    return shown(table(connection, name, **parameters))


def the_one(found: Rows, name: str, key: str) -> dict[str, Any] | None:
    """The row of that name or id, else the only one found; None where there is none, or several."""
    exact = [row for row in found if name in (row["name"], row[key])]
    return (exact or found)[0] if len(exact or found) == 1 else None


def shown(found: pa.Table) -> Rows:
    """The rows as they may be shown: a number that is not finite is missing, and no text acts instead of being seen."""
    listed = cast("Rows", found.to_pylist())
    for column in found.schema:
        if pa.types.is_floating(column.type):
            for row in listed:
                value = row[column.name]
                row[column.name] = value if value is not None and math.isfinite(value) else None
        elif pa.types.is_string(column.type):
            for row in listed:
                row[column.name] = None if row[column.name] is None else visible(row[column.name])
    return listed


def in_order(name: str) -> list[str | float]:
    """A key that sorts names as people do: the numbers in them by size, so that 1e-05 stands before 0.001."""
    return [float(piece) if place % 2 else piece for place, piece in enumerate(_NUMBER.split(name))]


_NUMBER = re.compile(r"((?:(?<![\w.)])-)?\d+(?:\.\d+)?(?:e[-+]?\d+)?)")


@contextmanager
def prepared(connection: duckdb.DuckDBPyConnection) -> Generator[None]:
    """Keeps the cells at hand under small integers, read once: every section joins and groups them again."""
    connection.register("report_clusters", clusters(connection))
    for name in _PREPARED:
        connection.execute(_sql(f"prepare/{name}"))
    try:
        yield
    finally:
        for name in _REGISTERED:
            connection.unregister(name)
        connection.execute(_sql("prepare/release"))


_REGISTERED = ("report_clusters", "report_rows", "report_columns", "report_chosen", "report_samples")
_PREPARED = ("arms", "probes", "queries", "pairs", "cells")


@dataclass(frozen=True)
class Arm:
    """One way of giving a base its probes, with the name, colour and shape that it has all over the page.

    An estimate has the intervention that it ``stands_for``, by its estimator.
    Its numbers of cells, probes, queries and seeds are 0 where they were not counted.
    """

    base: str
    estimator: str
    recipe: str
    base_label: str
    modality: str
    thing: str
    label: str
    short: str
    stands_for: str | None
    settings: dict[str, Any] = field(compare=False)
    index: int
    code: int
    cells: int
    probes: int
    queries: int
    seeds: int

    @property
    def key(self) -> tuple[str, str, str]:
        """Base, estimator and recipe."""
        return (self.base, self.estimator, self.recipe)

    @property
    def shape(self) -> str:
        """The shape of its marks; no two of 36 arms have both colour and shape in common."""
        return SHAPES[(self.index + self.index // len(SHAPES)) % len(SHAPES)]


@dataclass(frozen=True)
class Part:
    """A base and its arms."""

    base: str
    label: str
    modality: str
    arms: tuple[Arm, ...]

    @property
    def thing(self) -> str:
        """What a sample of it is called: a fact, a text or an image."""
        return self.arms[0].thing


def of_arm(found: Rows, part: Part) -> list[tuple[Arm, dict[str, Any]]]:
    """The rows that belong to a part, each with its arm."""
    arms = {arm.key: arm for arm in part.arms}
    pairs = [(arms.get((row["base"], row["estimator"], row["recipe"])), row) for row in found]
    return [(arm, row) for arm, row in pairs if arm is not None]


def failures(connection: duckdb.DuckDBPyConnection, arms: Sequence[Arm], most: int = 5) -> list[str]:
    """Why probes failed, a line an arm and reason: of each arm the ``most`` frequent, and how many there are beside."""
    lines: list[str] = []
    found = rows(connection, "failures")
    for arm in arms:
        mine = [row for row in found if (row["base"], row["estimator"], row["recipe"]) == arm.key]
        lines += [f"{row['probes']:,} ({arm.short}): {row['reason']}" for row in mine[:most]]
        if mine[most:]:
            probes = sum(row["probes"] for row in mine[most:])
            lines.append(f"{probes:,} ({arm.short}): for {len(mine) - most} further reasons, in the table `outcomes`")
    return lines


def parts_of(connection: duckdb.DuckDBPyConnection) -> list[Part]:
    """The bases of a store, each with its arms, texts first. Needs :func:`prepared`."""
    return _parts(connection, {row["arm"]: row for row in rows(connection, "arm_counts")})


def parts_uncounted(connection: duckdb.DuckDBPyConnection) -> list[Part]:
    """As :func:`parts_of`, for what needs no more than the scorecard: no cell is prepared or counted."""
    connection.execute(_sql("prepare/arms"))
    try:
        return _parts(connection, {})
    finally:
        connection.execute(_sql("prepare/release"))


def _parts(connection: duckdb.DuckDBPyConnection, counts: Mapping[int, dict[str, Any]]) -> list[Part]:
    by_base: dict[str, list[dict[str, Any]]] = {}
    for row in rows(connection, "arms"):
        by_base.setdefault(row["base"], []).append(row | counts.get(row["arm"], _UNCOUNTED))
    return [_part(sorted(found, key=_place)) for found in by_base.values()]


def _place(row: dict[str, Any]) -> tuple[object, ...]:
    """What was measured before what was estimated, fine-tuning first; then by what the recipe is called."""
    estimated, tuned = row["intervention"] is not None, row["estimator"] == "finetune"
    return estimated, not tuned, row["estimator"], in_order(row["recipe_label"] or ""), row["recipe"]


_UNCOUNTED = {"cells": 0, "probes": 0, "queries": 0, "seeds": 0}


def _part(found: Sequence[dict[str, Any]]) -> Part:
    labels = [row["recipe_label"] or row["recipe"] for row in found]
    shorts = apart([_short(row) for row in found], labels)
    shorts = apart(shorts, [f"{label} ({row['recipe'][:6]})" for label, row in zip(labels, found, strict=True)])
    arms = tuple(
        Arm(
            base=row["base"],
            estimator=row["estimator"],
            recipe=row["recipe"],
            base_label=row["base_label"],
            modality=row["modality"],
            thing=row["thing"],
            label=label,
            short=short,
            stands_for=row["intervention"],
            settings=_settings(row["recipe_json"]),
            index=index,
            code=row["arm"],
            cells=row["cells"],
            probes=row["probes"],
            queries=row["queries"],
            seeds=row["seeds"],
        )
        for index, (row, label, short) in enumerate(zip(found, labels, shorts, strict=True))
    )
    return Part(arms[0].base, arms[0].base_label, arms[0].modality, arms)


def apart(names: Sequence[str], longer: Sequence[str]) -> list[str]:
    """The names, each made longer that several have."""
    twice = {name for name, count in Counter(names).items() if count > 1}
    return [long if name in twice else name for name, long in zip(names, longer, strict=True)]


def _settings(text: str | None) -> dict[str, Any]:
    try:
        found: object = json.loads(text or "{}")
    except json.JSONDecodeError:
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _verb(estimator: str) -> str:
    return {"finetune": "fine-tuned", "in_context": "in the prompt"}.get(estimator, estimator.replace("_", " "))


def _short(row: dict[str, Any]) -> str:
    """How it is called where there is little room; an estimate by what it stands for as well."""
    own = _called(row["estimator"], row["recipe_json"])
    return f"{own} for {_called(row['intervention'], row['intervention_json'])}" if row["intervention"] else own


def _called(estimator: str, recipe: str | None) -> str:
    found = _settings(recipe).get("optimizer")
    optimizer = cast("dict[str, Any]", found).get("kind") if isinstance(found, dict) else found
    names = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW"}
    return _verb(estimator) + (f", {names.get(optimizer, optimizer)}" if isinstance(optimizer, str) else "")
