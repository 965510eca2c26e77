"""Does a verdict hang on how the probes were trained? Grids of recipes, by how strongly their probes were learned."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import duckdb
import numpy as np

from einfluence.metrics import matched
from einfluence.report import charts
from einfluence.report.figure import Figure, caption, interval, number
from einfluence.report.query import Arm, Part, Rows, of_arm
from einfluence.report.scorecard import headline, line_of

FEW = 6  # arms of a part that its charts show all; of more, one of each family
Doses = Mapping[Arm, float]


@dataclass(frozen=True)
class Recipes:
    """Desiderata against the dose, and how the families compare where they were learned equally well."""

    figure: Figure
    nats: float
    families: Sequence[Arm]
    table: list[tuple[str, list[dict[str, Any] | None]]]


def doses(found: Rows, part: Part) -> dict[Arm, float]:
    """How strongly each fine-tuning arm taught its probes: their mean influence on themselves, in nats."""
    own = [(arm, row["influence"]) for arm, row in of_arm(found, part) if row["kind"] == "self"]
    return {
        arm: float(np.mean([value for other, value in own if other is arm]))
        for arm in part.arms
        if arm.estimator == "finetune" and any(other is arm for other, _ in own)
    }


def few_arms(part: Part, dose: Doses) -> Part:
    """The part with all its arms where they are few; else with one of each family, learned about equally well."""
    if len(part.arms) <= FEW:
        return part
    grids = _grids(dose)
    target = _common(dose, grids)
    nearest = [min(grid, key=lambda arm: _apart(dose[arm], target)) for grid in grids.values()]
    return replace(part, arms=tuple(arm for arm in part.arms if arm in nearest or arm not in dose))


def recipes(connection: duckdb.DuckDBPyConnection, lines: Rows, part: Part, dose: Doses) -> Recipes | None:
    """The section on recipes, where there are three fine-tuning recipes or more."""
    if len(dose) < 3:
        return None
    grids = _grids(dose)
    families = [
        replace(grid[0], short=grid[0].label.split(", lr ")[0] if len(grid) > 1 else grid[0].label, index=index)
        for index, grid in enumerate(grids.values())
    ]
    target = _common(dose, grids)
    return Recipes(
        _figure(lines, part, dose, dict(zip(grids, families, strict=True)), target),
        target,
        families,
        _matched(connection, part, dict(zip(grids, families, strict=True)), target),
    )


def _family(arm: Arm) -> str:
    """What a recipe has in common with those that differ from it in ``lr`` and ``steps`` alone."""
    return json.dumps({key: value for key, value in sorted(arm.settings.items()) if key not in ("lr", "steps")})


def _grids(dose: Doses) -> dict[str, list[Arm]]:
    grids: dict[str, list[Arm]] = {}
    for arm in dose:
        grids.setdefault(_family(arm), []).append(arm)
    return grids


def _common(dose: Doses, grids: Mapping[str, Sequence[Arm]]) -> float:
    """The dose that every family has a recipe nearest to."""
    known = [value for value in dose.values() if value > 0] or [1.0]
    return min(known, key=lambda at: max(min(_apart(dose[arm], at) for arm in grid) for grid in grids.values()))


def _apart(dose: float, at: float) -> float:
    return abs(float(np.log(dose / at))) if dose > 0 else float("inf")


def _figure(lines: Rows, part: Part, dose: Doses, families: Mapping[str, Arm], target: float) -> Figure:
    drawn: Rows = []
    for line in headline(lines):
        arm: Arm = line["arm"]
        if arm in dose and line["value"] is not None:
            low, high = (line["value"] if line[key] is None else line[key] for key in ("ci_low", "ci_high"))
            drawn.append(
                {
                    "family": line["title"],
                    "arm": families[_family(arm)].short,
                    "label": arm.label,
                    "x": dose[arm],
                    "value": line["value"],
                    "low": low,
                    "high": high,
                    "description": f"{line['title']}, {arm.label}: {line['shown']} ({line['interval']}), where a probe "
                    f"raised itself by {dose[arm]:.2f} nats",
                }
            )
    return Figure(
        name=f"recipes-{part.modality}",
        caption=caption("recipes"),
        alt="Desiderata by recipe: " + "; ".join(row["description"] for row in drawn),
        draw=lambda theme, narrow: charts.curves(
            drawn,
            list(families.values()),
            ("influence on itself, nats", "value"),
            theme,
            size=(285 if narrow else 300, 160),
            columns=1 if narrow else 3,
            rules=(),
            upright=target,
        ),
        head=("desideratum", "recipe", "on itself, nats", "value", "95% interval"),
        numbers=[
            (row["family"], row["label"], number(row["x"]), number(row["value"]), interval(row["low"], row["high"]))
            for row in drawn
        ],
    )


def _matched(
    connection: duckdb.DuckDBPyConnection, part: Part, families: Mapping[str, Arm], target: float
) -> list[tuple[str, list[dict[str, Any] | None]]]:
    """A row a desideratum: its line in each family, where it could be matched."""
    lines: Rows = []
    for row in cast("Rows", matched(connection, nats=target).to_pylist()):
        arm = families.get(row["recipe"].split(" nats: ", 1)[-1])
        if arm and row["base"] == part.base and row["domain"] == "all":
            lines.append(line_of(arm, row, part, {}))
    heads = headline(lines)
    titles = dict.fromkeys(line["title"] for line in heads)
    found = {(line["title"], line["arm"].index): line for line in heads}
    return [(title, [found.get((title, arm.index)) for arm in families.values()]) for title in titles]
