"""Charts in tiles: where updates went, which layers mattered, and the influence matrix as a still picture."""

from __future__ import annotations

from einfluence.report.charts import Chart
from einfluence.report.query import Rows
from einfluence.report.theme import LIGHT, PAGE, Theme


def strips(rows: Rows, theme: Theme = PAGE, width: int = 560) -> Chart:
    """Where updates went: one tile a kind of weight (down) and layer (across); the darker, the larger.

    Args:
        rows: ``layer, part, size, description``.
        theme: Colours.
        width: Of the plot.
    """
    largest = max((row["size"] for row in rows), default=1.0) or 1.0
    parts = list(dict.fromkeys(row["part"] for row in rows))
    labels = {"labelLimit": 170, "labelColor": theme.ink}
    return {
        "width": width,
        "height": max(60, 24 * len(parts)),
        "padding": {"left": 18},
        "data": {"values": rows},
        "mark": {"type": "rect", "color": theme.arms[0], "stroke": theme.paper, "strokeWidth": 1.5},
        "encoding": {
            "x": {"field": "layer", "type": "ordinal", "title": "layer", "sort": None, "axis": {"labelAngle": 0}},
            "y": {"field": "part", "type": "nominal", "sort": parts, "title": None, "axis": labels},
            "opacity": {
                "field": "size",
                "type": "quantitative",
                "scale": {"domain": [0, largest], "range": [0.05, 1]},
                "legend": None,
            },
            "description": {"field": "description"},
        },
    }


def tiles(rows: Rows, theme: Theme = PAGE, width: int = 360) -> Chart:
    """Numbers in tiles: one row a claim, one column a layer; the fuller, the larger, brown below zero.

    Args:
        rows: ``layer, claim, value, text, description``, in the order of both axes.
        theme: Colours.
        width: Of the plot.
    """
    claims = list(dict.fromkeys(row["claim"] for row in rows))
    drawn = [{**row, "size": min(1.0, abs(row["value"])), "sign": row["value"] < 0} for row in rows]
    labels = {"labelLimit": 190, "labelColor": theme.ink}
    where = {
        "x": {"field": "layer", "type": "ordinal", "title": "layer", "sort": None, "axis": {"labelAngle": 0}},
        "y": {"field": "claim", "type": "nominal", "sort": claims, "title": None, "axis": labels},
    }
    colour = {"field": "sign", "type": "nominal", "legend": None}
    size = {"field": "size", "type": "quantitative", "scale": {"domain": [0, 1], "range": [0.04, 0.5]}, "legend": None}
    return {
        "width": width,
        "height": 26 * len(claims),
        "padding": {"left": 18},
        "data": {"values": drawn},
        "layer": [
            {
                "mark": {"type": "rect", "stroke": theme.paper, "strokeWidth": 1.5},
                "encoding": {
                    **where,
                    "color": {**colour, "scale": {"domain": [False, True], "range": list(theme.arms[:2])}},
                    "opacity": size,
                    "description": {"field": "description"},
                },
            },
            {
                "mark": {"type": "text", "fontSize": 11.5, "color": theme.ink, "aria": False},
                "encoding": {**where, "text": {"field": "text"}},
            },
        ],
    }


def heatmap(picture: str, groups: tuple[Rows, Rows], size: tuple[int, int], ends: str, theme: Theme = LIGHT) -> Chart:
    """An influence matrix as a still picture with its domains along the sides.

    Args:
        picture: The cells as a PNG in a ``data:`` address, one pixel a cell.
        groups: Of the rows and of the columns: ``start, end, middle, name``, in cells.
        size: Rows and columns.
        ends: What the colours mean, for the line below.
        theme: Colours.
    """
    height = max(160, min(560, round(560 * size[0] / size[1])))
    layers: list[Chart] = []
    for channel, rows, extent in (("y", groups[0], size[0]), ("x", groups[1], size[1])):
        scale = {"domain": [extent, 0] if channel == "y" else [0, extent], "nice": False, "zero": False}
        place = {"type": "quantitative", "axis": None, "scale": scale}
        beside = {"x": {"value": -6}} if channel == "y" else {"y": {"value": -8}}
        text = {"type": "text", "fontSize": 11, "color": theme.muted, "limit": 110}
        layers.append(
            {
                "data": {"values": rows},
                "mark": {**text, "align": "right" if channel == "y" else "center", "baseline": "middle"},
                "encoding": {channel: {"field": "middle", **place}, "text": {"field": "name"}, **beside},
            }
        )
        layers.append(
            {
                "data": {"values": rows[:-1]},
                "mark": {"type": "rule", "color": theme.muted, "opacity": 0.4},
                "encoding": {channel: {"field": "end", **place}},
            }
        )
    cells = {"type": "image", "url": picture, "aspect": False, "width": 560, "height": height, "smooth": False}
    middle = {"x": {"value": 280}, "y": {"value": height / 2}}
    layers.insert(0, {"data": {"values": [{}]}, "mark": cells, "encoding": middle})
    below = {"text": ends, "orient": "bottom", "fontSize": 11, "fontWeight": "normal", "color": theme.muted}
    return {"width": 560, "height": height, "title": {**below, "anchor": "start"}, "layer": layers}
