"""What the page of `einfluence explore` shows: the report's figures as SVG, in one theme."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

import duckdb
from rich.console import Console

from einfluence.errors import InputError
from einfluence.report import charts, export
from einfluence.report.page import summary_of
from einfluence.report.query import parts_of, prepared, rows
from einfluence.report.terminal import show_probe
from einfluence.report.theme import Theme


@dataclass(frozen=True)
class View:
    """Figures by section, each with its caption, and heat maps by arm."""

    title: str
    summary: str
    figures: dict[str, list[tuple[str, str]]] = field(default_factory=dict[str, list[tuple[str, str]]])
    matrices: dict[str, str] = field(default_factory=dict[str, str])


def read(connection: duckdb.DuckDBPyConnection, *, dark: bool = False) -> View:
    """Draws everything there is to see in a store now."""
    theme = export.THEMES["dark" if dark else "light"]
    with prepared(connection):
        parts = parts_of(connection)
        view = View("What one sample teaches", summary_of(parts, rows(connection, "failures")))
        for part in parts:
            for section, figures in export.figures_of(connection, part).items():
                drawn = [(_drawn(figure.draw(theme, False), theme), figure.caption) for figure in figures]
                view.figures[section] = view.figures.get(section, []) + drawn
            for arm, chart in export.matrices_of(connection, part, theme).items():
                view.matrices[f"{part.label}: {arm.short}"] = _drawn(chart, theme)
    return view


def _drawn(chart: charts.Chart, theme: Theme) -> str:
    """The SVG, no wider than the page."""
    return charts.svg(chart, theme).replace("<svg ", '<svg style="max-width:100%;height:auto" ', 1)


def probe(connection: duckdb.DuckDBPyConnection, name: str) -> str:
    """What a probe helped and hurt, as HTML; texts of samples are escaped."""
    console = Console(width=120, record=True, file=io.StringIO(), force_terminal=True)
    try:
        console.print(show_probe(connection, name))
    except InputError as error:
        console.print(str(error), markup=False)
    return console.export_html(inline_styles=True, code_format="<pre style='line-height:1.5'>{code}</pre>")
