"""How well an estimate does by the share of the parameters that its gradients are of."""

from __future__ import annotations

from einfluence.report.charts import Chart
from einfluence.report.query import Rows
from einfluence.report.theme import PAGE, SHAPES, Theme


def shares(rows: Rows, theme: Theme = PAGE, width: int = 300, columns: int = 2) -> Chart:
    """One panel an intervention: a mark an estimate with its interval, a colour and a shape an estimator.

    Args:
        rows: ``panel, estimator, share, value, low, high, description``; ``share`` in % of the base's parameters.
        theme: Colours.
        width: Of one panel.
        columns: Panels in a row.
    """
    names = sorted({row["estimator"] for row in rows})
    colours = [theme.arms[place % len(theme.arms)] for place in range(len(names))]
    shapes = [SHAPES[place % len(SHAPES)] for place in range(len(names))]
    colour = {"field": "estimator", "type": "nominal", "title": None, "scale": {"domain": names, "range": colours}}
    ends = min(row["share"] for row in rows) / 2, max(row["share"] for row in rows) * 2
    across = {"type": "log", "domain": ends, "nice": False}
    x: Chart = {"field": "share", "type": "quantitative", "title": "% of the base\u2019s parameters", "scale": across}
    x["axis"] = {"tickCount": 5, "grid": False, "format": "~g"}
    y = {"field": "value", "type": "quantitative", "title": "rank correlation", "scale": {"domain": (-0.3, 1.05)}}

    def panel(title: str) -> Chart:
        return {
            "width": width,
            "height": 220,
            "title": {"text": title, "anchor": "start", "color": theme.ink, "fontSize": 13},
            "data": {"values": [row for row in rows if row["panel"] == title]},
            "layer": [
                {
                    "mark": {"type": "line", "strokeWidth": 1, "opacity": 0.6, "aria": False},
                    "encoding": {"x": x, "y": y, "color": colour},
                },
                {
                    "mark": {"type": "rule", "strokeWidth": 2, "aria": False},
                    "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}, "color": colour},
                },
                {
                    "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
                    "encoding": {
                        "x": x,
                        "y": y,
                        "color": colour,
                        "shape": {**colour, "scale": {"domain": names, "range": shapes}},
                        "description": {"field": "description"},
                    },
                },
            ],
        }

    return {"concat": [panel(title) for title in dict.fromkeys(row["panel"] for row in rows)], "columns": columns}
