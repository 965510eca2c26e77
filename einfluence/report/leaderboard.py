"""Which estimate says best what a training does: one line an estimate, beside the intervention that it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import duckdb
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from einfluence.report.figure import interval, number
from einfluence.report.query import Rows, apart, rows

HEAD = (
    "estimator", "by probe", "95%", "by query", "of ceiling", "top tenth", "sign", "slope", "seconds", "memory",
    "parameters", "what it misses",
)  # fmt: skip
MISSED = 0.75  # share of pairs ordered as measured, under which a kind of relation is named as missed
MOST = 3  # kinds that are named


def leaderboard(connection: duckdb.DuckDBPyConnection) -> Rows:
    """The estimates of a store, best first within each intervention, each with a ``name`` and a ``line`` of words."""
    found = rows(connection, "leaderboard")
    groups: dict[tuple[str, str], Rows] = {}
    for row in found:
        groups.setdefault((row["base"], row["stands_for"]), []).append(row)
    for mine in groups.values():
        names = apart([row["estimator"] for row in mine], [_longer(row) for row in mine])
        names = apart(names, [f"{name} ({row['recipe'][:6]})" for name, row in zip(names, mine, strict=True)])
        for row, name in zip(mine, names, strict=True):
            row["name"] = name
            row["truth"] = f"{row['intervention']}, {row['intervention_label']}"
            row["line"] = line_of(row)
    return found


def _longer(row: Mapping[str, Any]) -> str:
    """An estimator with its recipe, without what that says of the intervention, which is in the title."""
    rest = (row["label"] or "").removesuffix(f"for {row['intervention']}: {row['intervention_label']}").rstrip(", ")
    return f"{row['estimator']}, {rest}" if rest else row["estimator"]


def line_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    """An estimate's cells under :data:`HEAD`."""
    known = row["spearman_low"] is not None
    return (
        row["name"],
        number(row["spearman"]),
        interval(row["spearman_low"], row["spearman_high"]) if known else row["note"] or "–",
        number(row["by_query"]),
        number(row["of_the_ceiling"]),
        number(row["top_tenth"]),
        number(row["sign_agrees"]),
        number(row["slope"]),
        _cost(row["seconds"], row["fit_seconds"]),
        _size(row["memory"]),
        share(row["parameter_share"]),
        missed(row),
    )


def missed(row: Mapping[str, Any]) -> str:
    """The kinds of relation that an estimate places elsewhere than the training does, the worst first, and where to."""
    shifts = {entry["kind"]: entry["shift"] for entry in row["too_high"] or []}
    worst = [entry for entry in row["by_kind"] or [] if entry["agreement"] < MISSED][:MOST]
    lines = [
        f"{entry['kind']} ({_where(shifts.get(entry['kind']))}{entry['agreement']:.0%} in order)" for entry in worst
    ]
    return ", ".join(lines) or ("nothing" if row["by_kind"] else "–")


def _where(shift: float | None) -> str:
    if shift is None or abs(shift) < 0.05:
        return ""
    return "too high, " if shift > 0 else "too low, "


def _seconds(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.2g}" if value < 10 else f"{value:,.0f}"


def _cost(cells: float | None, fit: float | None) -> str:
    """Seconds of the cells, and of the fit behind a plus sign."""
    return _seconds(cells) if fit is None else f"{_seconds(cells)} + {_seconds(fit)}"


def _size(value: int | None) -> str:
    return "–" if value is None else f"{value / 1e6:,.0f} MB"


def share(value: float | None) -> str:
    """Of the parameters, in per cent."""
    return "–" if value is None else f"{100 * value:.2g}%" if value < 0.995 else f"{100 * value:.0f}%"


def show_leaderboard(connection: duckdb.DuckDBPyConnection) -> RenderableType:
    """The leaderboard for a terminal: a table an intervention."""
    groups: dict[tuple[str, str], Rows] = {}
    for row in leaderboard(connection):
        groups.setdefault((row["base_label"], row["truth"]), []).append(row)
    if not groups:
        return Text("No estimate is held against a training here (an arm such as `estimator: grad_dot` is one).")
    pieces: list[RenderableType] = []
    for (base, truth), mine in groups.items():
        first = mine[0]
        title = Text(f"{base} · {truth}", "bold")
        if first["intervention_seconds"]:
            title.append(f"  {_seconds(first['intervention_seconds'])} s", "not bold")
        if first["ceiling"] is not None:
            title.append(f", another seed of it {number(first['ceiling'])}", "not bold")
        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        for name in HEAD[:-1]:
            words = name in ("estimator", "95%")
            table.add_column(name, justify="left" if words else "right", no_wrap=name == "95%")
        for row in mine:
            table.add_row(*map(Text, row["line"][:-1]))
        misses = [Text(f"{row['name']} misses: {row['line'][-1]}", "dim") for row in mine]  # too long for a column
        pieces += [table, *misses, Text("")]
    key = (
        "rank correlations with what was measured; seconds of all cells, + of the fit; memory at most beyond what was "
        "held before; parameters: numbers that gradients are taken of, over the base's; missed: under "
        f"{MISSED:.0%} of pairs with unrelated queries in order"
    )
    return Group(*pieces, Text(key, style="dim"))
