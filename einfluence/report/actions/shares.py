"""The chart of what removing a share of a set did, beside what was predicted and random removal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from einfluence.report.charts import DASHED, Chart
from einfluence.report.query import Arm, Rows
from einfluence.report.theme import Theme

DOTTED = (1.6, 3)


def shares(rows: Rows, arms: Sequence[Arm], theme: Theme, size: tuple[int, int], columns: int) -> Chart:
    """One panel a ``family`` of removed samples: nats upwards, the share across.

    Args:
        rows: ``family, group, x, arm, what (measured, predicted or random), value, low, high, description``; panels of
            a group share their vertical axis.
        arms: The arms, in order.
        theme: Colours.
        size: Of one panel.
        columns: Panels in a row.
    """
    colours = [theme.arms[arm.index % len(theme.arms)] for arm in arms]
    names = [arm.short for arm in arms]
    colour = {"field": "arm", "type": "nominal", "scale": {"domain": names, "range": colours}, "legend": None}
    shape = {**colour, "scale": {"domain": names, "range": [arm.shape for arm in arms]}}

    def panel(family: str, first: bool) -> Chart:
        mine = [row for row in rows if row["family"] == family]
        places = sorted({row["x"] for row in mine})
        x: dict[str, Any] = {"field": "x", "type": "quantitative", "title": "% of the set removed"}
        x |= {"axis": {"grid": False, "values": places}, "scale": {"zero": False, "nice": False, "padding": 14}}
        scale = _scale([row for row in rows if row["group"] == mine[0]["group"]])
        y: dict[str, Any] = {"field": "value", "type": "quantitative", "scale": scale, "axis": {"tickCount": 5}}
        y["title"] = "change of log p, nats" if first else None
        span = {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}}
        by = {what: [row for row in mine if row["what"] == what] for what in ("measured", "predicted", "random")}
        drawn = list({(row["x"], row["value"]): row for row in by["random"]}.values())  # the same beside every arm
        at, grey, told = {"x": x, "y": y}, {"color": theme.muted}, {"description": {"field": "description"}}
        open_marks = {"point": {"filled": False, "size": 40}}
        layers = [
            _layer([{"value": 0}], {"y": y}, "rule", strokeDash=DASHED, **grey),
            _layer(drawn, span, "rule", strokeWidth=5, opacity=0.3, **grey),
            _layer(drawn, at, "line", strokeWidth=1.5, **grey),
            _layer(drawn, {**at, **told}, "tick", aria=True, thickness=2.5, size=14, orient="horizontal", **grey),
            _layer(by["predicted"], {**at, "color": colour}, "line", strokeDash=DOTTED, strokeWidth=2, **open_marks),
            _layer(by["measured"], {**span, "color": colour}, "rule", strokeWidth=2.5),
            _layer(by["measured"], {**at, "color": colour}, "line", strokeWidth=2),
            _layer(
                by["measured"], {**at, "color": colour, "shape": shape, **told}, "point", aria=True, filled=True,
                size=70, opacity=1,
            ),
        ]  # fmt: skip
        name, _, rest = family.partition(", ")
        title = {"text": name, "anchor": "start", "color": theme.ink, "fontSize": 13}
        title |= {"subtitle": rest, "subtitleColor": theme.muted} if rest else {}
        return {"width": size[0], "height": size[1], "title": title, "layer": layers}

    families = list(dict.fromkeys(row["family"] for row in rows))
    panels = [panel(family, index % columns == 0) for index, family in enumerate(families)]
    together = {"scale": {"color": "shared", "shape": "shared"}}
    return {"concat": panels, "columns": columns, "spacing": 26, "resolve": together}


def _scale(rows: Rows) -> dict[str, Any]:
    """One for all panels of a group: what was measured has room in it, predictions may lie beyond."""
    known = [row for row in rows if row["what"] != "predicted"]
    low, high = min(0.0, *(row["low"] for row in known)), max(0.0, *(row["high"] for row in known))
    room = 0.3 * (high - low) or 1.0
    return {"domain": [low - room, high + room], "nice": False, "clamp": True}


def _layer(rows: Rows, encoding: dict[str, Any], kind: str, **mark: Any) -> Chart:
    return {"data": {"values": rows}, "mark": {"type": kind, "aria": False, **mark}, "encoding": encoding}
