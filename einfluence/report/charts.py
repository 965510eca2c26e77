"""The charts, as Vega-Lite specifications; :func:`svg`, :func:`png` and :func:`pdf` draw them without a browser."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import vl_convert

from einfluence.keys import content_hash
from einfluence.report.query import Arm, Rows
from einfluence.report.theme import PAGE, Theme, config

Chart = dict[str, Any]
VERSION = "6.4"  # of Vega-Lite
DASHED = (4, 3)


@dataclass(frozen=True)
class Scale:
    """The axis of a scorecard: its ends, what stands at which number, and the dashes of its upright lines."""

    ends: tuple[float, float]
    ticks: tuple[tuple[str, str], ...]
    rules: tuple[tuple[float, tuple[int, int]], ...]

    def cut(self, value: float) -> float:
        """The value, or the nearest end where it lies beyond."""
        return min(max(value, self.ends[0]), self.ends[1])


WAY = Scale(
    ends=(-1.15, 1.25),
    ticks=(("-1", "opposite"), ("0", "null"), ("0.5", "half way"), ("1", "ideal")),
    rules=((0, (1, 0)), (1, DASHED)),
)
RESCUE = Scale(
    ends=(-1.1, 1.1),
    ticks=(("-1", "training is better"), ("0", "alike"), ("1", "the prompt is better")),
    rules=((0, (1, 0)),),
)
CHANGE = Scale(ends=(-1.1, 1.1), ticks=(("-1", "worse"), ("0", "no change"), ("1", "better")), rules=((0, (1, 0)),))


def spec(chart: Chart, theme: Theme) -> Chart:
    """The chart as it can stand alone, in a theme's colours."""
    kept = {key: chart[key] for key in ("background",) if key in chart}
    return {"$schema": "https://vega.github.io/schema/vega-lite/v6.json", **chart, "config": {**config(theme), **kept}}


def svg(chart: Chart, theme: Theme = PAGE) -> str:
    """Draws a chart as an SVG element whose ids differ from those of every other on the page."""
    written = json.dumps(_rounded(spec(chart, theme)))
    text = vl_convert.vegalite_to_svg(written, vl_version=VERSION)
    prefix = f"c{content_hash(written)[:8]}-"
    return re.sub(r'(\bid="|url\(#|href="#)', lambda match: match[1] + prefix, text)


def _rounded(value: Any) -> Any:
    """Numbers to six digits: what threads that add in another order change in the last ones changes no picture."""
    match value:
        case float():
            return float(f"{value:.6g}") if math.isfinite(value) else None  # JSON has no other numbers
        case dict():
            return {key: _rounded(item) for key, item in cast("Chart", value).items()}
        case list() | tuple():
            return [_rounded(item) for item in cast("Sequence[Any]", value)]
        case _:
            return value


def scorecard(
    rows: Rows,
    arms: Sequence[Arm],
    theme: Theme = PAGE,
    width: int = 520,
    *,
    narrow: bool = False,
    scale: Scale = WAY,
) -> Chart:
    """One line a desideratum and arm: an interval on one axis for all.

    Args:
        rows: ``title, arm, at, low, high, sign, text, description``; ``at``, ``low`` and ``high`` cut to the scale's
            ends; ``bar``, the same for all rows of a title, where there is one to reach.
        arms: The arms, in order.
        theme: Colours.
        width: Of the plot, in pixels, without labels.
        narrow: Whether titles stand above their lines rather than at the left, and no numbers at the right.
        scale: The axis; by default the share of the way from null to ideal.
    """
    marks, stripes, bottom = _places(rows, head=1.1 if narrow else 0.0)
    down = {"type": "quantitative", "axis": None, "scale": {"domain": [bottom, 0], "nice": False}}
    cut = {"type": "quantitative", "scale": {"domain": list(scale.ends), "nice": False}}
    names = f"({json.dumps(dict(scale.ticks))})[''+datum.value]"
    axis = {"values": [float(tick) for tick, _ in scale.ticks], "labelExpr": names, "grid": False, "orient": "top"}
    across = {"field": "at", "title": None, "axis": axis, **cut}
    y = {"field": "y", **down}
    side = {"align": "left", "fontWeight": "bold"} if narrow else {"align": "right"}
    layers: list[Chart] = [
        {
            "data": _data([stripe for stripe in stripes if stripe["index"] % 2 == 0]),
            "mark": {"type": "rect", "color": theme.band, "aria": False},
            "encoding": {"y": {"field": "top", **down}, "y2": {"field": "bottom"}, "x": _value(0), "x2": _value(width)},
        },
        {
            "data": _data(stripes),
            "mark": {"type": "text", "baseline": "middle", "fontSize": 13, "color": theme.ink, "aria": False, **side},
            "encoding": {
                "y": {"field": "head" if narrow else "middle", **down},
                "x": _value(4 if narrow else -12),
                "text": {"field": "title"},
            },
        },
        *(
            {
                "data": _data([{"at": at}]),
                "mark": {"type": "rule", "color": theme.muted, "strokeWidth": 1.2, "strokeDash": dash, "aria": False},
                "encoding": {"x": across},
            }
            for at, dash in scale.rules
        ),
        {
            "data": _data([stripe for stripe in stripes if "bar" in stripe]),
            "mark": {"type": "rule", "color": theme.ink, "strokeWidth": 1.6, "strokeDash": (1.6, 3), "aria": False},
            "encoding": {"x": {"field": "bar", **cut}, "y": {"field": "top", **down}, "y2": {"field": "bottom"}},
        },
        {
            "data": _data(marks),
            "mark": {"type": "rule", "strokeWidth": 2.5, "strokeCap": "round", "aria": False},
            "encoding": {"x": {"field": "low", **cut}, "x2": {"field": "high"}, "y": y, "color": _colour(arms, theme)},
        },
        {
            "data": _data(marks),
            "mark": {"type": "point", "filled": True, "size": 85, "opacity": 1},
            "encoding": {"x": across, "y": y, **_identity(arms, theme)},
        },
    ]
    if not narrow:  # the sign apart from its number, so that a font without it changes that alone
        note = {"type": "text", "align": "left", "fontSize": 11.5, "color": theme.muted, "aria": False}
        layers += [
            {
                "data": _data(marks),
                "mark": note,
                "encoding": {"x": _value(width + at), "y": y, "text": {"field": field}},
            }
            for field, at in (("sign", 12), ("text", 28 if any(mark["sign"] for mark in marks) else 12))
        ]
    around = {"left": 5, "right": 5} if narrow else {"left": 18, "right": 24}
    return {"width": width, "height": bottom * 16, "padding": around, "layer": layers}


def _places(rows: Rows, head: float, gap: float = 0.9) -> tuple[Rows, Rows, float]:
    """Where each mark and each title stands, counted in lines from the top, and where the last one ends."""
    marks: Rows = []
    stripes: Rows = []
    top = 0.0
    for index, title in enumerate(dict.fromkeys(row["title"] for row in rows)):
        mine = [row for row in rows if row["title"] == title]
        bottom = top + head + len(mine) + gap
        stripe = {"title": title, "top": top, "bottom": bottom, "head": top + 0.8, "middle": (top + bottom) / 2}
        bars = {key: mine[0][key] for key in ("bar",) if key in mine[0]}
        stripes.append({**stripe, **bars, "index": index})
        marks += [{**row, "y": top + gap / 2 + head + place + 0.5} for place, row in enumerate(mine)]
        top = bottom
    return marks, stripes, top


def slopes(
    lines: Rows, middles: Rows, arms: Sequence[Arm], theme: Theme = PAGE, width: int = 190, columns: int = 3
) -> Chart:
    """One panel a kind of relation: each probe's influence in every arm joined by a line, with median and interval.

    Args:
        lines: ``kind, probe, arm, value``.
        middles: ``kind, arm, value, low, high, description``.
        arms: The arms, in order.
        theme: Colours.
        width: Of one panel.
        columns: Panels in a row.
    """
    label = {"labelAngle": 0, "labelLimit": width // max(1, len(arms)), "labelExpr": "split(datum.label, /[,:] /)"}
    x = {"field": "arm", "type": "nominal", "sort": [arm.short for arm in arms], "title": None, "axis": label}
    ends = [min([-1.0, *(row["low"] for row in middles)]), max([1.6, *(row["high"] + 0.1 for row in middles)])]
    scale = {"domain": ends, "nice": False, "clamp": True}

    def panel(kind: str, first: bool) -> Chart:
        title = "share of its effect on itself" if first else None
        y = {"field": "value", "type": "quantitative", "title": title, "scale": scale}
        step = 1.0 if ends[1] - ends[0] > 3 else 0.5
        y["axis"] = {"values": [tick * step for tick in range(-20, 21) if ends[0] <= tick * step <= ends[1]]}
        low = {"field": "low", "type": "quantitative", "scale": scale}
        middle = _data([row for row in middles if row["kind"] == kind])
        return {
            "width": width,
            "height": 220,
            "title": _title(kind, theme),
            "layer": [
                _across(0, y, theme, (1, 0)),
                _across(1, y, theme, DASHED),
                {
                    "data": _data([row for row in lines if row["kind"] == kind]),
                    "mark": {"type": "line", "strokeWidth": 1, "opacity": 0.28, "color": theme.muted, "aria": False},
                    "encoding": {"x": x, "y": y, "detail": {"field": "probe"}},
                },
                {
                    "data": middle,
                    "mark": {"type": "line", "strokeWidth": 2, "color": theme.ink, "aria": False},
                    "encoding": {"x": x, "y": y},
                },
                {
                    "data": middle,
                    "mark": {"type": "rule", "strokeWidth": 3, "aria": False},
                    "encoding": {"x": x, "y": low, "y2": {"field": "high"}, "color": _colour(arms, theme)},
                },
                {
                    "data": middle,
                    "mark": {"type": "point", "filled": True, "size": 110, "opacity": 1},
                    "encoding": {"x": x, "y": y, **_identity(arms, theme)},
                },
            ],
        }

    return _panels([row["kind"] for row in middles], panel, columns)


def curves(
    rows: Rows,
    arms: Sequence[Arm],
    titles: tuple[str, str],
    theme: Theme = PAGE,
    *,
    size: tuple[int, int] = (640, 240),
    columns: int = 0,
    rules: Sequence[float] = (0.0,),
    upright: float | None = None,
) -> Chart:
    """Lines with intervals by arm over a number.

    Args:
        rows: ``x, value, low, high, arm, description``, and ``family`` where there are panels.
        arms: The arms, in order.
        titles: What the horizontal and the vertical axis show.
        theme: Colours.
        size: Width and height of one panel.
        columns: Panels in a row, one panel a ``family``; 0 draws everything in one.
        rules: Heights of thin lines across.
        upright: Where a thin line stands upright.
    """
    stands = {"type": "rule", "aria": False, "strokeDash": (1.6, 3), "color": theme.muted}

    def panel(family: str | None, first: bool) -> Chart:
        data = _data([row for row in rows if family is None or row["family"] == family])
        places = {row["x"] for row in rows if family is None or row["family"] == family}
        ticks: Chart = {"values": sorted(places)} if columns and len(places) < 5 else {"tickCount": 5}
        x: Chart = {"field": "x", "type": "quantitative", "title": titles[0], "axis": {"grid": False, **ticks}}
        if len(places) == 1 and columns:
            x |= {"title": None, "axis": None}
        x["scale"] = {"zero": False, "nice": True, "padding": 8}
        y = {"field": "value", "type": "quantitative", "title": titles[1] if first else None, "axis": {"tickCount": 5}}
        colour = _colour(arms, theme)
        span = {"x": x, "y": {"field": "low", "type": "quantitative"}, "y2": {"field": "high"}, "color": colour}
        chart: Chart = {
            "width": size[0],
            "height": size[1],
            "layer": [
                *(_across(value, y, theme, DASHED) for value in rules),
                *(
                    {"data": _data([{"x": at}]), "mark": stands, "encoding": {"x": x}}
                    for at in [upright]
                    if at is not None
                ),
                {"data": data, "mark": {"type": "area", "opacity": 0.15, "aria": False}, "encoding": span},
                {"data": data, "mark": {"type": "rule", "strokeWidth": 1.5, "aria": False}, "encoding": span},
                {
                    "data": data,
                    "mark": {"type": "line", "strokeWidth": 2, "aria": False},
                    "encoding": {"x": x, "y": y, "color": colour},
                },
                {
                    "data": data,
                    "mark": {"type": "point", "filled": True, "size": 60, "opacity": 1},
                    "encoding": {"x": x, "y": y, **_identity(arms, theme)},
                },
            ],
        }
        return chart if family is None else {**chart, "title": _title(family, theme)}

    return _panels([row["family"] for row in rows], panel, columns) if columns else panel(None, True)


def _data(rows: Rows) -> dict[str, object]:
    return {"values": rows}


def _value(number: float) -> dict[str, float]:
    return {"value": number}


def _title(text: str, theme: Theme) -> dict[str, object]:
    return {"text": text, "anchor": "start", "color": theme.ink, "fontSize": 13}


def _colour(arms: Sequence[Arm], theme: Theme) -> Chart:
    colours = [theme.arms[arm.index % len(theme.arms)] for arm in arms]
    scale = {"domain": [arm.short for arm in arms], "range": colours}
    legend = {"columns": 1 if sum(len(arm.short) for arm in arms) > 60 else 0} if theme.legend else None
    return {"field": "arm", "type": "nominal", "scale": scale, "legend": legend}


def _identity(arms: Sequence[Arm], theme: Theme) -> Chart:
    """Colour, shape and words of a mark that stands for an arm; the words become its tooltip and its aria-label."""
    scale = {"domain": [arm.short for arm in arms], "range": [arm.shape for arm in arms]}
    return {
        "color": _colour(arms, theme),
        "shape": {**_colour(arms, theme), "scale": scale},
        "description": {"field": "description"},
    }


def _across(value: float, y: Chart, theme: Theme, dash: Sequence[int]) -> Chart:
    mark = {"type": "rule", "aria": False, "strokeDash": dash, "color": theme.muted}
    return {"data": _data([{"value": value}]), "mark": mark, "encoding": {"y": y}}


def _panels(groups: Sequence[str], panel: Callable[[str, bool], Chart], columns: int) -> Chart:
    order = list(dict.fromkeys(groups))
    made = [panel(group, index % columns == 0) for index, group in enumerate(order)]
    together = {"scale": {"color": "shared", "shape": "shared"}}
    return {"concat": made, "columns": columns, "spacing": 26, "resolve": together}
