"""Does a verdict hang on how the probes were trained? Grids of recipes, by how strongly their probes were learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import duckdb
import numpy as np

from einfluence.report import charts
from einfluence.report.figure import Figure, caption, interval, number
from einfluence.report.query import Arm, Part, Rows, apart, rows
from einfluence.report.scorecard import headline, line_of

FEW = 6  # arms of a part that its charts show all; of more, one of each grid
Doses = Mapping[Arm, float]


@dataclass(frozen=True)
class Grid:
    """Recipes that differ in learning rate and steps alone, with their scorecard where they taught equally much."""

    label: str
    nats: float
    arms: tuple[Arm, ...]
    rows: Rows = field(compare=False)


@dataclass(frozen=True)
class Recipes:
    """Desiderata against the dose, and how the families compare where they were learned equally well."""

    figure: Figure
    nats: float | None
    families: Sequence[Arm]
    table: list[tuple[str, list[dict[str, Any] | None]]]


def grids_of(connection: duckdb.DuckDBPyConnection, part: Part) -> list[Grid]:
    """The grids of a part's fine-tuning arms, from the table ``matched``."""
    found: dict[str, Rows] = {}
    for row in rows(connection, "matched"):
        if (row["base"], row["estimator"]) == (part.base, "finetune"):
            found.setdefault(row["grid"], []).append(row)
    labels = [mine[0]["label"] for mine in found.values()]
    labels = apart(labels, [f"{label} ({grid[:6]})" for label, grid in zip(labels, found, strict=True)])
    tuned = [arm for arm in part.arms if arm.estimator == "finetune"]
    return [
        Grid(label, mine[0]["nats"], tuple(arm for arm in tuned if arm.recipe in mine[0]["recipes"]), mine)
        for label, mine in zip(labels, found.values(), strict=True)
    ]


def doses(lines: Rows) -> dict[Arm, float]:
    """How strongly each fine-tuning arm taught its probes: the median of their influence on themselves, in nats."""
    return {
        line["arm"]: line["value"]
        for line in lines
        if (line["desideratum"], line["variant"]) == ("gate", "nats")
        and line["arm"].estimator == "finetune"
        and line["value"] is not None
    }


def few_arms(part: Part, dose: Doses, grids: Sequence[Grid]) -> Part:
    """The part with all its arms where they are few; else with one of each grid, learned about equally well."""
    if len(part.arms) <= FEW:
        return part
    nearest = [min(grid.arms, key=lambda arm: _away(dose.get(arm, 0.0), grid.nats)) for grid in grids if grid.arms]
    left_out = {arm for grid in grids for arm in grid.arms} - set(nearest)
    return replace(part, arms=tuple(arm for arm in part.arms if arm not in left_out))


def _away(dose: float, at: float) -> float:
    return abs(float(np.log(dose / at))) if dose > 0 else float("inf")


def recipes(lines: Rows, part: Part, dose: Doses, grids: Sequence[Grid]) -> Recipes | None:
    """The section on recipes, where there are three fine-tuning recipes or more."""
    if len(dose) < 3:
        return None
    grid_of = {arm: grid for grid in grids for arm in grid.arms}
    members = dict.fromkeys(grid_of.get(arm, arm) for arm in part.arms if arm in dose)
    families: dict[Arm | Grid, Arm] = {
        one: replace(one, short=one.label, index=index)
        if isinstance(one, Arm)
        else replace(one.arms[0], short=one.label, index=index)
        for index, one in enumerate(members)
    }
    family_of = {arm: families[grid_of.get(arm, arm)] for arm in part.arms if arm in dose}
    nats = grids[0].nats if grids else None
    return Recipes(
        _figure(lines, part, dose, family_of, nats),
        nats,
        list(families.values()),
        _matched(part, {families[grid]: grid for grid in grids if grid in families}, list(families.values())),
    )


def _figure(lines: Rows, part: Part, dose: Doses, family_of: Mapping[Arm, Arm], nats: float | None) -> Figure:
    drawn: Rows = []
    for line in headline(lines):
        arm: Arm = line["arm"]
        if arm in dose and line["value"] is not None:
            low, high = (line["value"] if line[key] is None else line[key] for key in ("ci_low", "ci_high"))
            drawn.append(
                {
                    "family": line["title"],
                    "arm": family_of[arm].short,
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
            list(dict.fromkeys(family_of.values())),
            ("influence on itself, nats", "value"),
            theme,
            size=(285 if narrow else 300, 160),
            columns=1 if narrow else 3,
            rules=(),
            upright=nats,
        ),
        head=("desideratum", "recipe", "on itself, nats", "value", "95% interval"),
        numbers=[
            (row["family"], row["label"], number(row["x"]), number(row["value"]), interval(row["low"], row["high"]))
            for row in drawn
        ],
    )


def _matched(
    part: Part, grids: Mapping[Arm, Grid], families: Sequence[Arm]
) -> list[tuple[str, list[dict[str, Any] | None]]]:
    """A row a desideratum: its line in each family, where it could be matched."""
    heads = headline(
        [line_of(arm, row, part, {}, {}) for arm, grid in grids.items() for row in grid.rows if row["domain"] == "all"]
    )
    found = {(line["title"], line["arm"].index): line for line in heads}
    titles = dict.fromkeys(line["title"] for line in heads)
    return [(title, [found.get((title, arm.index)) for arm in families]) for title in titles]
