"""Two stores side by side: what the second does better or worse than the first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
from markupsafe import Markup

from einfluence.errors import InputError
from einfluence.report import charts, sections
from einfluence.report.figure import Figure, caption, interval, number
from einfluence.report.page import asset, environment, variables, write_whole
from einfluence.report.query import Arm, Part, Rows, of_arm, parts_of, prepared
from einfluence.report.scorecard import headline, scorecard
from einfluence.report.words import position

Connection = duckdb.DuckDBPyConnection


def write_comparison(first: Connection, second: Connection, out: Path, *, names: tuple[str, str]) -> Path:
    """Writes a page that compares two stores: their scorecards, and the probes that both hold, in pairs.

    Arms are matched by estimator and recipe, those left over by estimator in their order.

    Args:
        first: Has the views of the one store.
        second: Has the views of the other.
        out: The file to write.
        names: What to call them.

    Raises:
        InputError: When the stores have no kind of arm in common.
    """
    with prepared(first), prepared(second):
        before, after = sections.pairs(first), sections.pairs(second)
        shown = [
            _part(first, second, one, other, before, after)
            for one in parts_of(first)
            for other in parts_of(second)
            if one.modality == other.modality and _matched(one, other)
        ]
    if not shown:
        found = " and ".join(names)
        raise InputError(
            "compare", f"{found}, which share no kind of arm", "two stores with arms of the same estimator"
        )
    html = environment().get_template("compare.html.j2").render(
        names=names, parts=shown, variables=Markup(variables()), css=Markup(asset("report.css"))
    )  # fmt: skip
    return write_whole(out, html)


def _matched(one: Part, other: Part) -> list[tuple[Arm, Arm]]:
    """Arms of the two parts that belong together."""
    same = [(a, b) for a in one.arms for b in other.arms if (a.estimator, a.recipe) == (b.estimator, b.recipe)]
    for estimator in dict.fromkeys(arm.estimator for arm in one.arms):
        left = [a for a in one.arms if a.estimator == estimator and a.key not in {pair[0].key for pair in same}]
        right = [b for b in other.arms if b.estimator == estimator and b.key not in {pair[1].key for pair in same}]
        same += list(zip(left, right, strict=False))
    return same


def _part(first: Connection, second: Connection, one: Part, other: Part, before: Rows, after: Rows) -> dict[str, Any]:
    matched = _matched(one, other)
    arms = [replace(a, index=place, short=a.short) for place, (a, _) in enumerate(matched)]
    lines = _changes(headline(scorecard(first, one)["lines"]), headline(scorecard(second, other)["lines"]), matched)
    pairs = _paired(of_arm(before, one), of_arm(after, other), matched)
    return {
        "name": "Texts" if one.modality == "text" else "Images",
        "labels": (one.label, other.label),
        "arms": [_names(arm, b) for arm, (_, b) in zip(arms, matched, strict=True)],
        "lines": lines,
        "figure": _figure(f"compare-{one.modality}", "compare", lines, arms),
        "paired": _figure(f"paired-{one.modality}", "paired", pairs, arms),
    }  # fmt: skip


def _names(arm: Arm, other: Arm) -> dict[str, object]:
    return {"short": arm.short, "label": (arm.label, other.label), "index": arm.index, "shape": arm.shape}


def _changes(before: Rows, after: Rows, matched: Sequence[tuple[Arm, Arm]]) -> Rows:
    """The lines of the scorecard that both stores have, with the change on the way from null to ideal."""
    found: Rows = []
    for line in before:
        other = next((b.key for a, b in matched if a.key == line["arm"].key), None)
        kind = (other, line["desideratum"], line["variant"])
        mate = next((x for x in after if (x["arm"].key, x["desideratum"], x["variant"]) == kind), None)
        if mate is None:
            continue
        ends = [_spread(item) for item in (line, mate)]
        change = {"at": None, "low": None, "high": None}
        if ends[0] and ends[1]:
            at, half = ends[1][0] - ends[0][0], math.hypot(ends[0][1], ends[1][1])
            change = {"at": at, "low": at - half, "high": at + half}
        found.append({**change, "title": line["title"], "arm": line["arm"].short, "before": line, "after": mate})
    return found


def _spread(line: dict[str, Any]) -> tuple[float, float] | None:
    """Position between null and ideal, and half the width of its interval."""
    at, low, high = (position(line, line[key]) for key in ("value", "ci_low", "ci_high"))
    if at is None or low is None or high is None or line["verdict"] == "described":
        return None
    return at, abs(high - low) / 2


def _paired(before: Sequence[Any], after: Sequence[Any], matched: Sequence[tuple[Arm, Arm]]) -> Rows:
    """Per kind of relation: the median over probes that both stores hold of the change in relative influence."""
    found: Rows = []
    for kind, name in sections.KINDS.items():
        for a, b in matched:
            values = [
                {row["probe_id"]: row["relative"] for arm, row in side if arm.key == mine.key and row["kind"] == kind}
                for side, mine in ((before, a), (after, b))
            ]
            both = [key for key in values[0] if values[0][key] is not None and values[1].get(key) is not None]
            if both:
                middle, low, high = sections.median([values[1][key] - values[0][key] for key in both])
                found.append({"title": name, "arm": a.short, "at": middle, "low": low, "high": high, "n": len(both)})
    return found


def _figure(name: str, words: str, lines: Rows, arms: Sequence[Arm]) -> Figure | None:
    drawn: Rows = []
    for line in lines:
        if line["at"] is None:
            continue
        text = f"{number(line['at'])} ({interval(line['low'], line['high'])})"
        ends = {key: charts.CHANGE.cut(line[key]) for key in ("at", "low", "high")}
        drawn.append(
            {
                "title": line["title"],
                "arm": line["arm"],
                **ends,
                "text": number(line["at"]),
                "description": f"{line['title']}, {line['arm']}: {text}",
            }
        )
    if not drawn:
        return None
    scale = charts.MORE if words == "paired" else charts.CHANGE
    return Figure(
        name=name,
        caption=caption(words),
        alt="Change: " + "; ".join(row["description"] for row in drawn),
        draw=lambda theme, narrow: charts.scorecard(
            drawn, arms, theme, 300 if narrow else 640, narrow=narrow, scale=scale
        ),
        head=("", "arm", "change", "95% interval"),
        numbers=[
            (line["title"], line["arm"], number(line["at"]), interval(line["low"], line["high"]))
            for line in lines
            if line["at"] is not None
        ],
    )
