"""Estimates against what was measured, cell by cell, one panel an estimate."""

from __future__ import annotations

from einfluence.report.charts import Chart
from einfluence.report.query import Rows
from einfluence.report.theme import PAGE, Theme


def scatter(rows: Rows, lines: Rows, theme: Theme = PAGE, width: int = 250, columns: int = 3) -> Chart:
    """One panel an estimate: a mark a cell, the line of best fit, and the number of each of the worst cells.

    Args:
        rows: ``panel, estimate, measured, related, worst, description``; ``worst`` is None for most.
        lines: ``panel, estimate, measured``, the two ends of each panel's line.
        theme: Colours.
        width: Of one panel.
        columns: Panels in a row.
    """
    panels = list(dict.fromkeys(row["panel"] for row in rows))

    def of(some: Rows, panel: str) -> dict[str, Rows]:
        return {"values": [row for row in some if row["panel"] == panel]}

    def drawn(panel: str, first: bool) -> Chart:
        x: Chart = {"field": "estimate", "type": "quantitative", "title": "estimate", "scale": {"zero": False}}
        x["axis"] = {"tickCount": 4, "grid": False}
        y = {"field": "measured", "type": "quantitative", "title": "measured, nats" if first else None}
        marks = of(rows, panel)["values"]
        named = {"values": [row for row in marks if row["worst"] is not None]}
        around = {
            "field": "related",
            "type": "nominal",
            "scale": {"domain": [False, True], "range": [theme.muted, theme.arms[0]]},
            "legend": None,
        }
        return {
            "width": width,
            "height": 200,
            "title": {"text": panel, "anchor": "start", "color": theme.ink, "fontSize": 13},
            "layer": [
                {
                    "data": {"values": sorted(marks, key=lambda row: row["related"])},
                    "mark": {"type": "circle", "size": 14, "opacity": 0.5, "aria": False},
                    "encoding": {"x": x, "y": y, "color": around},
                },
                {
                    "data": of(lines, panel),
                    "mark": {"type": "line", "strokeWidth": 1.2, "color": theme.ink, "aria": False},
                    "encoding": {"x": x, "y": y},
                },
                {
                    "data": named,
                    "mark": {"type": "point", "size": 60, "color": theme.ink, "opacity": 1, "filled": False},
                    "encoding": {"x": x, "y": y, "description": {"field": "description"}},
                },
                {
                    "data": named,
                    "mark": {"type": "text", "dx": 9, "fontSize": 11, "color": theme.ink, "aria": False},
                    "encoding": {"x": x, "y": y, "text": {"field": "worst"}},
                },
            ],
        }

    charts = [drawn(panel, place % columns == 0) for place, panel in enumerate(panels)]
    return {"concat": charts, "columns": columns, "spacing": 26}
