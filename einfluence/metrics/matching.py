"""Desiderata at a matched self-influence, so that no verdict hangs on one learning rate or number of steps."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, cast

import duckdb
import numpy as np
import pyarrow as pa

from einfluence.errors import InputError
from einfluence.metrics.resample import Resampling
from einfluence.metrics.scoring import per_probe, summarised
from einfluence.store.schema import DESIDERATA

LEFT_OUT = ("gate", "layers", "controls", "prompt_rescue", "reliability")
Family = tuple[str, str, str]  # estimator, base, what the recipes have in common

_SCORES = pa.schema(
    [
        ("arm", pa.int64()), ("desideratum", pa.string()), ("variant", pa.string()), ("probe", pa.string()),
        ("cluster", pa.int64()), ("domain", pa.string()), ("summary", pa.string()), ("ideal", pa.float64()),
        ("value", pa.float64()), ("weight", pa.float64()), ("null_value", pa.float64()), ("learned", pa.bool_()),
    ]
)  # fmt: skip


def matched(
    connection: duckdb.DuckDBPyConnection, *, nats: float | None = None, draws: int = 2000, seed: int = 0
) -> pa.Table:
    """Scores each grid of recipes (equal but for ``lr`` and ``steps``) where its probes learned equally well.

    Each probe's values are interpolated over the grid, linearly in the logarithm of its self-influence, at ``nats``;
    a probe whose self-influence does not reach from below to above that is left out and counted, never extrapolated.

    Args:
        connection: With the views of a store.
        nats: The self-influence to match at; by default the median over probes and recipes that learned.
        draws: Bootstrap draws and permutations.
        seed: Of the generator of draws.

    Returns:
        Rows of schema :data:`einfluence.store.schema.DESIDERATA`, whose ``recipe`` is ``matched at X nats:`` and what
        the grid has in common; none when no two recipes differ in ``lr`` or ``steps`` alone.
    """
    if nats is not None and not nats > 0:
        raise InputError("matched", f"{nats} nats", "a self-influence above 0")
    families = _families(connection)
    rows = [row for row in per_probe(connection).to_pylist()
            if (row["estimator"], row["base"], row["recipe"]) in families and row["summary"] != "ratio"]  # fmt: skip
    arms: dict[int, dict[str, Any]] = {}
    scores: list[dict[str, Any]] = []
    for family in sorted(set(families.values())):
        mine = [row for row in rows if families[row["estimator"], row["base"], row["recipe"]] == family]
        strengths = _mean_by((row["probe_id"], row["recipe"], row["value"]) for row in mine
                             if (row["desideratum"], row["variant"]) == ("gate", "nats"))  # fmt: skip
        learned = [value for value in strengths.values() if value > 0]
        if not learned:
            continue
        target = float(nats if nats is not None else np.median(learned))
        arm = len(arms)
        arms[arm] = {"estimator": family[0], "base": family[1], "recipe": f"matched at {target:.3g} nats: {family[2]}"}
        scores += [{**score, "arm": arm} for score in _interpolated(mine, strengths, target)]
    scores.sort(key=lambda row: (row["arm"], row["desideratum"], row["variant"], row["probe"]))
    table = pa.Table.from_pylist(scores, schema=_SCORES)
    found = summarised(table, arms, Resampling(draws=draws, seed=seed))
    return pa.Table.from_pylist(list(found), schema=DESIDERATA)


def _families(connection: duckdb.DuckDBPyConnection) -> dict[tuple[str, str, str], Family]:
    """The grid that each arm belongs to, for grids of two recipes or more."""
    shared: dict[str, str] = {}
    for row in connection.table("recipes").project("recipe, json").fetchall():
        fields = cast("dict[str, Any]", json.loads(row[1] or "{}"))
        if {"lr", "steps"} <= fields.keys():
            shared[row[0]] = json.dumps({k: v for k, v in sorted(fields.items()) if k not in ("lr", "steps")})
    arms = connection.table("influence").project("estimator, base, recipe").distinct().fetchall()
    members: dict[Family, list[tuple[str, str, str]]] = defaultdict(list)
    for estimator, base, recipe in arms:
        if recipe in shared:
            members[estimator, base, shared[recipe]].append((estimator, base, recipe))
    return {arm: family for family, grid in members.items() if len(grid) > 1 for arm in grid}


def _mean_by(rows: Iterable[tuple[str, str, float | None]]) -> dict[tuple[str, str], float]:
    """Means over seeds by (probe, recipe)."""
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    for probe, recipe, value in rows:
        if value is not None and np.isfinite(value):
            values[probe, recipe].append(value)
    return {key: float(np.mean(each)) for key, each in values.items()}


def _interpolated(
    rows: list[dict[str, Any]], strengths: dict[tuple[str, str], float], target: float
) -> list[dict[str, Any]]:
    cluster = {name: number for number, name in enumerate(sorted({row["cluster"] for row in rows}))}
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["desideratum"] not in LEFT_OUT:
            groups[row["desideratum"], row["variant"], row["probe_id"]].append(row)
    scores: list[dict[str, Any]] = []
    for (name, variant, probe), mine in groups.items():
        first = mine[0]
        values, nulls = (_mean_by((probe, row["recipe"], row[key]) for row in mine) for key in ("value", "null_value"))
        value, null = (_at(target, {strengths.get(key, 0.0): each for key, each in found.items()})
                       for found in (values, nulls))  # fmt: skip
        known = {key[1] for key in strengths if key[0] == probe and strengths[key] > 0}
        reached = _at(target, {strengths[probe, recipe]: 0.0 for recipe in known})
        scores.append({
            "desideratum": name, "variant": variant, "probe": probe, "cluster": cluster[first["cluster"]],
            "domain": first["domain"] or None, "summary": first["summary"], "ideal": first["ideal"], "value": value,
            "null_value": null, "learned": reached is not None,
        })  # fmt: skip
    return scores


def _at(target: float, points: dict[float, float]) -> float | None:
    """The value at a self-influence, from values at others on either side of it."""
    usable = sorted((np.log(strength), value) for strength, value in points.items() if strength > 0)
    if not usable or not usable[0][0] <= np.log(target) <= usable[-1][0]:
        return None
    return float(np.interp(np.log(target), [x for x, _ in usable], [y for _, y in usable]))
