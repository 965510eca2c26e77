"""What notebooks show: the scorecard of a store and what a run did, in the notebook's own colours, light or dark."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb

from einfluence.report.page import environment
from einfluence.report.query import Part, parts_uncounted
from einfluence.report.scorecard import position, scorecard
from einfluence.report.terminal import show_scorecard
from einfluence.visible import visible

COLOURS = {"met": "#258a4b", "violated": "#d1495b", "bar": "#4a86c5"}  # 3:1 on white and on #111 alike


@dataclass(frozen=True, repr=False)
class Scorecard:
    """The verdicts of a store: a table in a notebook, the scorecard of `einfluence show` where it is printed."""

    parts: Sequence[dict[str, Any]] = field(repr=False)
    text: str

    def __repr__(self) -> str:
        """As `einfluence show` prints it, in 120 columns."""
        return self.text

    def _repr_html_(self) -> str:
        return html(self.parts)


def scorecard_of(connection: duckdb.DuckDBPyConnection) -> Scorecard:
    """Reads the scorecard over a store's views."""
    from rich.console import Console

    written = io.StringIO()
    Console(file=written, width=120, color_system=None).print(show_scorecard(connection))
    return Scorecard([_part(connection, part) for part in parts_uncounted(connection)], visible(written.getvalue()))


def html(parts: Sequence[dict[str, Any]], result: Any = None) -> str:
    """The tables of some parts below what a run did; texts are escaped, control characters made visible."""
    failures = list(result.reasons.items())[:10] if result is not None else []
    template = environment().get_template("notebook.html.j2")
    return template.render(parts=parts, result=result, failures=failures, colours=COLOURS)


def _part(connection: duckdb.DuckDBPyConnection, part: Part) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    for item in scorecard(connection, part, domains=False)["desiderata"]:
        cells = [next((_cell(line) for line in item["lines"] if line["arm"] is arm), None) for arm in part.arms]
        rows.append({"title": item["title"], "cells": cells})
    return {"label": part.label, "arms": [arm.short for arm in part.arms], "rows": rows}


def _cell(line: dict[str, Any]) -> dict[str, Any]:
    at = None if line["verdict"] == "described" else position(line, line["value"])
    names = ("verdict", "symbol", "shown", "interval", "sentence")
    return {
        **{name: line[name] for name in names},
        "share": None if at is None else round(100 * min(max(at, 0.0), 1.0)),
    }
