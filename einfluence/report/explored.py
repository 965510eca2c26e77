"""What the page of `einfluence explore` shows: the report's figures as SVG, in one theme."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

import duckdb
from rich.console import Console

from einfluence.errors import InputError
from einfluence.report import charts, export, sections
from einfluence.report.page import summary_of
from einfluence.report.query import parts_of, prepared
from einfluence.report.terminal import show_probe


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
        parts, pairs = parts_of(connection), sections.pairs(connection)
        view = View("What one sample teaches", summary_of(parts))
        for part in parts:
            for figure in export.figures_of(connection, part, pairs):
                kind = figure.name.split("-")[0]
                drawn = charts.svg(figure.draw(theme, False), theme)
                view.figures.setdefault(kind, []).append((drawn, figure.caption))
            for name, chart in export.matrices_of(connection, part, theme).items():
                arm = part.arms[int(name.rsplit("-", 1)[1])]
                view.matrices[f"{part.label}: {arm.short}"] = charts.svg(chart, theme)
    return view


def probe(connection: duckdb.DuckDBPyConnection, name: str) -> str:
    """What a probe helped and hurt, as HTML; texts of samples are escaped."""
    console = Console(width=120, record=True, file=io.StringIO(), force_terminal=True)
    try:
        console.print(show_probe(connection, name))
    except InputError as error:
        console.print(str(error), markup=False)
    return console.export_html(inline_styles=True, code_format="<pre style='line-height:1.5'>{code}</pre>")
