"""What the page of `einfluence explore` shows: the rooms of the report, in colours that follow the system."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

import duckdb
from rich.console import Console

from einfluence.errors import InputError
from einfluence.metrics.verdicts import rules_of
from einfluence.report import charts, export
from einfluence.report.page import asset, environment, heading_of, part_shown, rooms_of, summary_of, variables
from einfluence.report.query import Arm, Part, parts_of, prepared, rows
from einfluence.report.rules import rules_in_words
from einfluence.report.terminal import show_probe
from einfluence.report.theme import Theme


@dataclass(frozen=True)
class View:
    """Rooms by title, and heat maps by arm, as HTML."""

    title: str
    summary: str
    rooms: dict[str, str] = field(default_factory=dict[str, str])
    matrices: dict[str, str] = field(default_factory=dict[str, str])


def read(connection: duckdb.DuckDBPyConnection) -> View:
    """Draws everything there is to see in a store now; a room that nothing is in is not there."""
    with prepared(connection):
        parts, rules = parts_of(connection), rules_of(connection)
        view = View(heading_of(parts), summary_of(parts, rows(connection, "failures")))
        shown = [part_shown(connection, part, place, rules.apart) for place, part in enumerate(parts)]
        rooms = environment().get_template("rooms.html.j2").module
        judged = any(part["scorecard"]["desiderata"] for part in shown)
        verdict = [{"key": "verdict", "title": "Verdict"}] if judged else []
        for room in [*verdict, *rooms_of(shown)]:
            view.rooms[room["title"]] = _room(getattr(rooms, room["key"])(shown, rules_in_words(rules)))
        for part in parts:
            day, night = (_drawn(connection, part, export.THEMES[look]) for look in ("light", "dark"))
            for arm in day:
                both = f'<figure class="by-day">{day[arm]}</figure><figure class="by-night">{night[arm]}</figure>'
                view.matrices[f"{part.label}: {arm.short}"] = _room(both)
    return view


def _drawn(connection: duckdb.DuckDBPyConnection, part: Part, theme: Theme) -> dict[Arm, str]:
    return {arm: charts.svg(chart, theme) for arm, chart in export.matrices_of(connection, part, theme).items()}


def _room(html: str) -> str:
    """A piece of the report with its style, whose rules and colours reach no further than the piece."""
    style = f"{variables('.room')}\n@scope (.room) {{{asset('report.css')}{asset('room.css')}}}"
    return f'<style>{style}</style><div class="room">{html}</div>'


def probe(connection: duckdb.DuckDBPyConnection, name: str) -> str:
    """What a probe helped and hurt, as HTML; texts of samples are escaped."""
    console = Console(width=120, record=True, file=io.StringIO(), force_terminal=True)
    try:
        console.print(show_probe(connection, name))
    except InputError as error:
        console.print(str(error), markup=False)
    return console.export_html(inline_styles=True, code_format="<pre style='line-height:1.5'>{code}</pre>")
