"""Desiderata at a matched self-influence, so that no verdict hangs on one learning rate or number of steps."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pyarrow as pa

from einfluence.keys import content_hash
from einfluence.metrics.ladder import PROMPTING, series_of
from einfluence.metrics.models import Models
from einfluence.metrics.resample import Resampling
from einfluence.metrics.summaries import on_ladder, summarised
from einfluence.metrics.verdicts import HOUSE
from einfluence.recipe import of_its_kinds
from einfluence.rules import Rules

DOSE = ("lr", "steps")  # what may differ within a grid


@dataclass(frozen=True)
class Grid:
    """The arms of one estimator and base whose recipes are equal but for :data:`DOSE`; ``grid`` is their hash."""

    estimator: str
    base: str
    grid: str
    label: str
    arms: tuple[int, ...]
    recipes: tuple[str, ...]


def matched_rows(
    models: Models, nats: float | None, resampling: Resampling, rules: Rules = HOUSE
) -> list[dict[str, Any]]:
    """Rows of :data:`einfluence.store.schema.MATCHED`; see :func:`einfluence.metrics.matched`."""
    every = grids(models)
    if all(len(grid.arms) == 1 for grid in every):
        return []
    scores = models.scores()
    doses = {row["arm"]: row["nats"] for row in models.select("marts", "mart_doses").to_pylist()}
    names: dict[int, dict[str, Any]] = {}
    members: list[dict[str, Any]] = []
    for number, grid in enumerate(every):
        beside = [other.arms for other in every if (other.estimator, other.base) == (grid.estimator, grid.base)]
        target = nats if nats is not None else common_dose(doses, beside)
        if len(grid.arms) > 1 and target is not None:
            names[number] = {"estimator": grid.estimator, "base": grid.base, "grid": grid.grid, "label": grid.label,
                             "recipes": list(grid.recipes), "nats": target}  # fmt: skip
            members += [{"arm": arm, "number": number, "nats": target} for arm in grid.arms]
    if not members:
        return []
    schema = pa.schema([("arm", pa.int64()), ("number", pa.int64()), ("nats", pa.float64())])
    models.register("mart_grids", pa.Table.from_pylist(members, schema=schema))
    number_of = {row["arm"]: row["number"] for row in members}
    described = {
        (number_of[arm], name, variant): scored
        for (arm, name, variant), scored in models.described().items()
        if arm in number_of
    }
    prompts = {arm: name for arm, name in models.arms().items() if name["estimator"] == PROMPTING}
    return summarised(
        models.select("marts", "mart_matched"), names, described, resampling, rules=rules, estimates=models.estimates,
        beside=series_of(scores, prompts, on_ladder(described), own=False),
    )  # fmt: skip


def grids(models: Models) -> list[Grid]:
    """The grids of a store, those of one recipe too, sorted; recipes without ``lr`` and ``steps`` are in none."""
    shared: dict[str, str] = {}
    labels: dict[str, str] = {}
    for recipe, label, text in models.connection.table("recipes").project("recipe, label, json").fetchall():
        common = _but_for_dose(text)
        if common is not None:
            shared[recipe], labels[recipe] = content_hash(common), label or recipe
    found: dict[tuple[str, str, str], list[tuple[str, int]]] = defaultdict(list)
    for arm, named in models.arms().items():
        if named["recipe"] in shared:
            key = (named["estimator"], named["base"], shared[named["recipe"]])
            found[key].append((named["recipe"], arm))
    return [
        Grid(*key, _common_label([labels[recipe] for recipe, _ in members]),
             tuple(arm for _, arm in sorted(members)), tuple(recipe for recipe, _ in sorted(members)))
        for key, members in sorted(found.items())
    ]  # fmt: skip


def common_dose(doses: Mapping[int, float], grids: Iterable[Sequence[int]]) -> float | None:
    """Of the arms' doses the one that every grid has an arm nearest to, by ratio; None where nothing was learned.

    Args:
        doses: Nats by arm; arms without one, or with none above 0, are out of the question.
        grids: The arms of each grid.
    """
    known = [[doses[arm] for arm in grid if doses.get(arm, 0.0) > 0] for grid in grids]
    known = [grid for grid in known if grid]
    every = sorted(dose for grid in known for dose in grid)
    if not every:
        return None
    return min(every, key=lambda at: max(min(abs(np.log(dose / at)) for dose in grid) for grid in known))


def _but_for_dose(text: str | None) -> dict[str, Any] | None:
    """A recipe's fields without its dose; None where it has no learning rate or no steps."""
    try:
        fields = json.loads(text or "{}")
    except json.JSONDecodeError:
        return None
    if not isinstance(fields, dict):
        return None
    outer = of_its_kinds(cast("dict[str, Any]", fields))
    inner = cast("dict[str, Any]", outer["optimizer"]) if isinstance(outer.get("optimizer"), dict) else {}
    if "steps" not in outer or "lr" not in {*outer, *inner}:
        return None
    rest = {name: value for name, value in outer.items() if name not in DOSE}
    return {**rest, "optimizer": {name: value for name, value in inner.items() if name not in DOSE}} if inner else rest


def _common_label(labels: Sequence[str]) -> str:
    """What the recipes of a grid are called, as far as their labels agree: ``LoRA r8, SGD``."""
    agreed = os.path.commonprefix(labels)
    return labels[0] if len(labels) == 1 else agreed.rpartition(",")[0] or agreed.strip() or labels[0]
