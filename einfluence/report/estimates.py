"""The page's section on estimates: the leaderboard, and estimates against what was measured, cell by cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import duckdb

from einfluence.report import charts, scatter
from einfluence.report.figure import Figure, caption, interval, number, short
from einfluence.report.leaderboard import HEAD, leaderboard, share
from einfluence.report.query import Part, Rows, rows
from einfluence.report.shares import shares
from einfluence.report.terminal import in_words

SCALE = charts.Scale(
    ends=(-0.3, 1.05),
    ticks=(("0", "unrelated"), ("0.5", "0.5"), ("1", "the same order")),
    rules=((0, (1, 0)), (1, charts.DASHED)),
)
PANELS = 6  # estimates that are drawn cell by cell, the best of them
SHOWN, WORST = 400, 5  # cells of each, and those that are named


@dataclass(frozen=True)
class Section:
    """What the page shows of a part's estimates: a line an estimate under ``head``, and figures."""

    head: tuple[str, ...]
    lines: list[tuple[str, ...]]
    board: Figure
    shares: Figure | None
    cells: Figure | None
    arms: list[Any]


def estimates(connection: duckdb.DuckDBPyConnection, part: Part) -> Section | None:
    """The section of a part; None where nothing of it is held against a training."""
    arms = {arm.recipe: arm for arm in part.arms}
    mine = [row for row in leaderboard(connection) if row["base"] == part.base and row["stands_for"] in arms]
    drawn = [_mark(row, arms[row["stands_for"]].short) for row in mine if row["spearman"] is not None]
    if not drawn:
        return None
    held = [arm for arm in part.arms if any(row["stands_for"] == arm.recipe for row in mine)]
    board = Figure(
        name=f"leaderboard-{part.modality}",
        caption=caption("leaderboard"),
        alt="Estimates beside what was measured: " + "; ".join(row["description"] for row in drawn),
        draw=lambda theme, narrow: charts.scorecard(
            drawn, held, theme, 300 if narrow else 640, narrow=narrow, scale=SCALE
        ),
    )
    lines = [(row["name"], arms[row["stands_for"]].short, *row["line"][1:]) for row in mine]
    figures = board, _shares(part, mine, arms), _cells(connection, part, mine, arms)
    return Section((HEAD[0], "stands for", *HEAD[1:]), lines, *figures, held)


def _mark(row: dict[str, Any], truth: str) -> dict[str, Any]:
    value = row["spearman"]
    low, high = (value if row[end] is None else row[end] for end in ("spearman_low", "spearman_high"))
    shown = interval(low, high) if row["spearman_low"] is not None else "too few probes for an interval"
    ceiling = "" if row["ceiling"] is None else f", another seed {number(row['ceiling'])}"
    return {
        "title": row["name"],
        "arm": truth,
        "at": SCALE.cut(value),
        "low": SCALE.cut(low),
        "high": SCALE.cut(high),
        "sign": "",
        "text": number(value),
        "description": f"{row['name']} for {truth}: {number(value)} ({shown}){ceiling}",
    }


def _shares(part: Part, mine: Rows, arms: dict[str, Any]) -> Figure | None:
    """Fidelity by the share of the parameters, where an estimator was tried on several shares for one intervention."""
    known = [row for row in mine if row["parameter_share"] and row["spearman"] is not None]
    tried = {(row["stands_for"], row["estimator"]): set[float]() for row in known}
    for row in known:
        tried[row["stands_for"], row["estimator"]].add(row["parameter_share"])
    several = {of for (of, _), each in tried.items() if len(each) > 1}
    marks = [
        {
            **_mark(row, arms[row["stands_for"]].short),
            "panel": arms[row["stands_for"]].short,
            "estimator": row["estimator"],
            "share": 100 * row["parameter_share"],
            "value": row["spearman"],
        }
        for row in known
        if row["stands_for"] in several
    ]
    if not marks:
        return None
    return Figure(
        name=f"parameters-{part.modality}",
        caption=caption("parameters"),
        alt="Rank correlation by share of the parameters: "
        + "; ".join(f"{share(mark['share'] / 100)}, {mark['description']}" for mark in marks),
        draw=lambda theme, narrow: shares(marks, theme, 250 if narrow else 300, 1 if narrow else 2),
    )


def _cells(connection: duckdb.DuckDBPyConnection, part: Part, mine: Rows, arms: dict[str, Any]) -> Figure | None:
    best = sorted((row for row in mine if row["spearman"] is not None), key=lambda row: -row["spearman"])[:PANELS]
    panels = {row["recipe"]: f"{row['name']} for {arms[row['stands_for']].short}" for row in best}
    found = rows(connection, "estimated_cells", base=part.base, most=SHOWN, worst=WORST)
    shown = [row for row in found if row["recipe"] in panels]
    if not shown:
        return None
    marks = [
        {
            "panel": panels[row["recipe"]],
            "estimate": row["estimate"],
            "measured": row["measured"],
            "related": row["kind"] is not None,
            "worst": row["worst"],
            "description": _described(row, panels[row["recipe"]]),
        }
        for row in shown
    ]
    lines: Rows = []
    for recipe, panel in panels.items():
        own = [row for row in shown if row["recipe"] == recipe]
        ends = (min(row["estimate"] for row in own), max(row["estimate"] for row in own)) if own else ()
        lines += [{"panel": panel, "estimate": at, "measured": own[0]["start"] + own[0]["slope"] * at} for at in ends]
    named = [row for row in shown if row["worst"] is not None]
    return Figure(
        name=f"estimates-{part.modality}",
        caption=caption("estimates"),
        alt="Cells farthest from the line: " + "; ".join(_described(row, panels[row["recipe"]]) for row in named),
        draw=lambda theme, narrow: scatter.scatter(marks, lines, theme, 270 if narrow else 250, 1 if narrow else 3),
        head=("estimate", "", "probe", "relation", "query", "estimate", "measured, nats"),
        numbers=[
            (panels[row["recipe"]], row["worst"], row["probe"], row["kind"] or "", short(in_words(row).strip(), 90),
             _digits(row["estimate"]), number(row["measured"], 3))
            for row in named
        ],
    )  # fmt: skip


def _described(row: dict[str, Any], panel: str) -> str:
    relation = f" ({row['kind']})" if row["kind"] else ""
    query = short(in_words(row).strip(), 60)
    numbers = f"{_digits(row['estimate'])}, measured {number(row['measured'], 3)}"
    return f"{panel}, {row['probe']} on {query}{relation}: {numbers}"


def _digits(value: float) -> str:
    """An estimate to three digits, whatever its unit."""
    return f"{value:.3g}".replace("-", "\N{MINUS SIGN}")
