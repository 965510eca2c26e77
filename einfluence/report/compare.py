"""Two stores, bases or recipes side by side: what the second does better or worse than the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import duckdb
import pyarrow as pa
from markupsafe import Markup

from einfluence.metrics import compare
from einfluence.report import charts
from einfluence.report.figure import Figure, caption, interval, number
from einfluence.report.page import asset, environment, variables, write_whole
from einfluence.report.query import Arm, Part, Rows, parts_of, prepared
from einfluence.report.scorecard import headline, position, scorecard

Connection = duckdb.DuckDBPyConnection
Key = tuple[str, str, str]
Lines = Mapping[tuple[Key, str, str], dict[str, Any]]


def write_comparison(
    first: Connection, second: Connection, out: Path, *, names: tuple[str, str], table: pa.Table | None = None
) -> Path:
    """Writes a page that compares two stores, or two arms of one, paired by probe.

    Args:
        first: Has the views of the one store.
        second: Has the views of the other; may be the same.
        out: The file to write.
        names: What to call them.
        table: What :func:`einfluence.metrics.compare` found; by default of all arms of both.

    Raises:
        InputError: When no arm of the one has a counterpart in the other.
    """
    differences = cast("Rows", (compare(first, second) if table is None else table).to_pylist())
    (parts, before), (others, after) = _read(first), _read(second)
    arms = {arm.key: arm for part in others for arm in part.arms}
    shown = [entry for part in parts if (entry := _part(part, arms, differences, before, after))]
    page = environment().get_template("compare.html.j2")
    return write_whole(
        out, page.render(names=names, parts=shown, variables=Markup(variables()), css=Markup(asset("report.css")))
    )


def _read(connection: Connection) -> tuple[list[Part], Lines]:
    """The parts of a store, and the lines of their scorecards that stand on the page."""
    with prepared(connection):
        parts = parts_of(connection)
        lines = [line for part in parts for line in headline(scorecard(connection, part, domains=False)["lines"])]
    return parts, {(line["arm"].key, line["desideratum"], line["variant"]): line for line in lines}


def _part(
    part: Part, others: Mapping[Key, Arm], differences: Rows, before: Lines, after: Lines
) -> dict[str, Any] | None:
    arms: dict[tuple[Key, Key], Arm] = {}
    lines: Rows = []
    own = {arm.key: arm for arm in part.arms}
    for row in differences:
        ends = _key(row, "a"), _key(row, "b")
        kind = (row["desideratum"], row["variant"] or "")
        old, new = before.get((ends[0], *kind)), after.get((ends[1], *kind))
        if ends[0] in own and ends[1] in others and old and new and row["difference"] is not None:
            arm = arms.setdefault(
                ends, replace(own[ends[0]], index=len(arms), short=_name(own[ends[0]], others[ends[1]]))
            )
            lines.append(_line(row, arm, old, new))
    if not lines:
        return None
    lines.sort(key=lambda line: (line["order"], line["title"], line["place"]))
    there = next(others[ends[1]] for ends in arms)
    return {
        "name": "Texts" if part.modality == "text" else "Images",
        "labels": (part.label, there.base_label),
        "arms": [
            {
                "short": arm.short,
                "label": (arm.label, others[ends[1]].label),
                "index": arm.index % 6,
                "shape": arm.shape,
            }
            for ends, arm in arms.items()
        ],
        "lines": lines,
        "figure": _figure(part, lines, list(arms.values())),
    }


def _key(row: dict[str, Any], side: str) -> Key:
    return row[f"base_{side}"], row["estimator" if side == "a" else "estimator_b"], row[f"recipe_{side}"]


def _name(arm: Arm, other: Arm) -> str:
    return arm.short if arm.short == other.short else f"{arm.short} → {other.short}"


def _line(row: dict[str, Any], arm: Arm, old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """A difference with its verdicts before and after, and as a share of the way from null to ideal."""
    ends = [None if row[key] is None else _share(old, row[key]) for key in ("difference", "ci_low", "ci_high")]
    low, high = (ends[0] if end is None else end for end in ends[1:])
    described = old["bar"] is None or ends[0] is None or low is None or high is None
    return {
        **row,
        "title": old["title"],
        "order": old["order"],
        "place": arm.index,
        "arm": arm.short,
        "before": {**old, "shown": number(row["value_a"])},
        "after": {**new, "shown": number(row["value_b"])},
        "at": None if described else ends[0],
        "low": None if described else min(low or 0, high or 0),
        "high": None if described else max(low or 0, high or 0),
    }


def _share(line: dict[str, Any], difference: float) -> float | None:
    start, end = position(line, 0.0), position(line, difference)
    return None if start is None or end is None else end - start


def _figure(part: Part, lines: Rows, arms: Sequence[Arm]) -> Figure | None:
    drawn: Rows = []
    for line in (line for line in lines if line["at"] is not None):
        text = f"{line['title']}, {line['arm']}: {number(line['at'])} ({interval(line['low'], line['high'])})"
        ends = {key: charts.CHANGE.cut(line[key]) for key in ("at", "low", "high")}
        drawn.append(
            {
                "title": line["title"],
                "arm": line["arm"],
                **ends,
                "sign": "",
                "text": number(line["at"]),
                "description": text,
            }
        )
    if not drawn:
        return None
    return Figure(
        name=f"compare-{part.modality}",
        caption=caption("compare"),
        alt="Change: " + "; ".join(row["description"] for row in drawn),
        draw=lambda theme, narrow: charts.scorecard(
            drawn, arms, theme, 300 if narrow else 640, narrow=narrow, scale=charts.CHANGE
        ),
    )
