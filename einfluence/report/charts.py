"""The charts, as Altair objects; :func:`svg` draws one without a browser."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from typing import Any, cast

import altair as alt
import vl_convert

from einfluence.report.query import Arm
from einfluence.report.theme import PAGE, Theme, config
from einfluence.report.words import BAR

Rows = Sequence[dict[str, Any]]
Chart = alt.Chart | alt.LayerChart | alt.FacetChart | alt.HConcatChart | alt.VConcatChart
_VERSION = "v" + ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])
ENDS = (-1.15, 1.25)  # of the scorecard's axis, as shares of the way from null to ideal
_numbers = itertools.count()


def spec(chart: Chart, theme: Theme) -> dict[str, Any]:
    """The chart's Vega-Lite specification in a theme's colours."""
    with alt.data_transformers.enable(consolidate_datasets=False):
        return {**chart.to_dict(validate=False), "config": config(theme)}


def svg(chart: Chart, theme: Theme = PAGE) -> str:
    """Draws a chart as an SVG element whose ids differ from those of every other on the page."""
    text = vl_convert.vegalite_to_svg(json.dumps(spec(chart, theme)), vl_version=_VERSION)
    prefix = f"c{next(_numbers)}-"
    return re.sub(r'(\bid="|url\(#|href="#)', lambda match: match[1] + prefix, text)


def _data(rows: Rows) -> alt.InlineData:
    return alt.InlineData(values=cast("Any", tuple(rows)))  # Altair copies lists again and again, tuples never


def _colour(arms: Sequence[Arm], theme: Theme, legend: bool = True) -> alt.Color:
    scale = alt.Scale(
        domain=[arm.short for arm in arms], range=[theme.arms[arm.index % len(theme.arms)] for arm in arms]
    )
    return alt.Color("arm:N", scale=scale, legend=alt.Legend(columns=1 if len(arms) > 3 else 0) if legend else None)


def _shape(arms: Sequence[Arm], legend: bool = True) -> alt.Shape:
    scale = alt.Scale(domain=[arm.short for arm in arms], range=[arm.shape for arm in arms])
    return alt.Shape("arm:N", scale=scale, legend=alt.Legend() if legend else None)


def scorecard(rows: Rows, arms: Sequence[Arm], theme: Theme = PAGE, width: int = 520, narrow: bool = False) -> Chart:
    """One line a desideratum and arm: the interval between the null (0) and the ideal (1).

    Args:
        rows: ``title, arm, at, low, high, text, description``; ``at``, ``low`` and ``high`` as shares of the way from
            null to ideal, cut to :data:`ENDS`.
        arms: The arms, in order.
        theme: Colours.
        width: Of the plot, in pixels, without labels.
        narrow: Whether titles stand above their lines rather than at the left, and no numbers at the right.
    """
    titles = list(dict.fromkeys(row["title"] for row in rows))
    head, step, gap = (1.1 if narrow else 0.0), 16, 0.9
    placed: list[dict[str, Any]] = []
    stripes: list[dict[str, Any]] = []
    top = 0.0
    for index, title in enumerate(titles):
        mine = [row for row in rows if row["title"] == title]
        bottom = top + head + len(mine) + gap
        stripes.append(
            {
                "title": title,
                "top": top,
                "bottom": bottom,
                "middle": top + 0.8 if narrow else (top + bottom) / 2,
                "odd": index % 2,
            }
        )
        placed += [{**row, "y": top + gap / 2 + head + place + 0.5} for place, row in enumerate(mine)]
        top = bottom
    y = alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[top, 0], nice=False))
    cut = alt.Scale(domain=list(ENDS), nice=False)
    expr = "{'-1':'opposite','0':'null','0.5':'half way','1':'ideal'}[''+datum.value]"
    axis = alt.Axis(values=[-1, 0, 0.5, 1], labelExpr=expr, grid=False, orient="top", labelLimit=90)
    x = alt.X("at:Q", title=None, scale=cut, axis=axis)
    under = alt.Chart(_data(stripes))
    band = under.transform_filter("datum.odd == 0").mark_rect(color=theme.band, aria=False)
    band = band.encode(
        y=alt.Y("top:Q", axis=None, scale=y["scale"]), y2="bottom:Q", x=alt.value(0), x2=alt.value(width)
    )
    names = under.mark_text(
        align="left" if narrow else "right",
        baseline="middle",
        fontSize=13,
        color=theme.ink,
        aria=False,
        fontWeight="bold" if narrow else "normal",
    )
    names = names.encode(
        y=alt.Y("middle:Q", axis=None, scale=y["scale"]), x=alt.value(4 if narrow else -12), text="title:N"
    )
    ends = alt.Chart(_data([{"at": 0}, {"at": BAR}, {"at": 1}])).mark_rule(aria=False, strokeWidth=1.2)
    dashes = {
        "condition": [{"test": "datum.at == 0", "value": [1, 0]}, {"test": "datum.at == 1", "value": [4, 3]}],
        "value": [1, 4],
    }
    ends = ends.encode(x=x, color=alt.value(theme.muted), strokeDash=cast("Any", dashes))
    base = alt.Chart(_data(placed))
    interval = base.mark_rule(strokeWidth=2.5, strokeCap="round", aria=False)
    interval = interval.encode(x=alt.X("low:Q", scale=cut), x2="high:Q", y=y, color=_colour(arms, theme, False))
    dots = base.mark_point(filled=True, size=85, opacity=1).encode(
        x=x, y=y, color=_colour(arms, theme, False), shape=_shape(arms, False), description="description:N"
    )
    layers: list[alt.Chart] = [band, names, ends, interval, dots]
    if not narrow:
        text = base.mark_text(align="left", baseline="middle", fontSize=11.5, color=theme.muted, aria=False)
        layers.append(text.encode(x=alt.value(width + 12), y=y, text="text:N"))
    return alt.layer(*layers).properties(width=width, height=top * step)


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
    order = list(dict.fromkeys(row["kind"] for row in middles))
    x = alt.X(
        "arm:N",
        sort=[arm.short for arm in arms],
        title=None,
        axis=alt.Axis(labelAngle=0, labelLimit=width // max(1, len(arms)), labelExpr="split(datum.label, /[,:] /)"),
    )
    panels: list[Chart] = []
    for index, kind in enumerate(order):
        mine = [row for row in lines if row["kind"] == kind]
        middle = [row for row in middles if row["kind"] == kind]
        bounds = [-1.0, 1.6]
        scale = alt.Scale(domain=bounds, nice=False, clamp=True)
        title = "influence, as a share of that on itself" if index % columns == 0 else None
        axis = alt.Y("value:Q", title=title, scale=scale, axis=alt.Axis(values=[-1, -0.5, 0, 0.5, 1, 1.5]))
        zero = (
            alt.Chart(_data([{"value": 0}, {"value": 1}]))
            .mark_rule(aria=False)
            .encode(
                y=axis,
                color=alt.value(theme.muted),
                strokeDash=alt.condition("datum.value == 0", alt.value([1, 0]), alt.value([4, 3])),
            )
        )
        thin = (
            alt.Chart(_data(mine))
            .mark_line(strokeWidth=1, opacity=0.28, color=theme.muted, aria=False)
            .encode(x=x, y=axis, detail="probe:N")
        )
        base = alt.Chart(_data(middle))
        thick = base.mark_line(strokeWidth=2, color=theme.ink, aria=False).encode(x=x, y=axis)
        bar = base.mark_rule(strokeWidth=3, aria=False).encode(
            x=x, y=alt.Y("low:Q", scale=scale), y2="high:Q", color=_colour(arms, theme, False)
        )
        dot = base.mark_point(filled=True, size=110, opacity=1).encode(
            x=x, y=axis, color=_colour(arms, theme, False), shape=_shape(arms, False), description="description:N"
        )
        panels.append(
            alt.layer(zero, thin, thick, bar, dot).properties(
                width=width, height=220, title=alt.TitleParams(kind, anchor="start", color=theme.ink, fontSize=13)
            )
        )
    return cast("Chart", alt.concat(*panels, columns=columns, spacing=26))


def curves(
    rows: Rows,
    arms: Sequence[Arm],
    x_title: str,
    y_title: str,
    theme: Theme = PAGE,
    width: int = 640,
    height: int = 240,
    facet: str | None = None,
    columns: int = 2,
    rules: Sequence[float] = (0.0,),
) -> Chart:
    """Lines with intervals by arm over a number, in panels by ``facet``.

    Args:
        rows: ``x, value, low, high, arm, description`` and the facet's column.
        arms: The arms, in order.
        x_title: What the horizontal axis shows.
        y_title: What the vertical axis shows.
        theme: Colours.
        width: Of one panel.
        height: Of one panel.
        facet: The column that makes panels.
        columns: Panels in a row.
        rules: Heights of thin lines across.
    """
    panels: list[Chart] = []
    groups = list(dict.fromkeys(row[facet] for row in rows)) if facet else [None]
    for index, group in enumerate(groups):
        mine = [row for row in rows if facet is None or row[facet] == group]
        x = alt.X(
            "x:Q",
            title=x_title,
            axis=alt.Axis(grid=False, tickCount=5),
            scale=alt.Scale(zero=False, nice=True, padding=8),
        )
        y = alt.Y("value:Q", title=y_title if index % columns == 0 else None, axis=alt.Axis(tickCount=5))
        base = alt.Chart(_data(mine))
        across = (
            alt.Chart(_data([{"value": value} for value in rules]))
            .mark_rule(aria=False, strokeDash=[4, 3])
            .encode(y=y, color=alt.value(theme.muted))
        )
        area = base.mark_area(opacity=0.15, aria=False).encode(
            x=x, y=alt.Y("low:Q"), y2="high:Q", color=_colour(arms, theme, False)
        )
        bar = base.mark_rule(strokeWidth=1.5, aria=False).encode(
            x=x, y=alt.Y("low:Q"), y2="high:Q", color=_colour(arms, theme, False)
        )
        line = base.mark_line(strokeWidth=2, aria=False).encode(x=x, y=y, color=_colour(arms, theme, False))
        dot = base.mark_point(filled=True, size=60, opacity=1).encode(
            x=x, y=y, color=_colour(arms, theme, False), shape=_shape(arms, False), description="description:N"
        )
        panel = alt.layer(across, area, bar, line, dot).properties(width=width, height=height)
        if facet:
            title = alt.TitleParams(str(group).replace("_", " "), anchor="start", color=theme.ink, fontSize=13)
            panel = panel.properties(title=title)
        panels.append(panel)
    return cast("Chart", alt.concat(*panels, columns=columns, spacing=26)) if facet else panels[0]


def strips(rows: Rows, theme: Theme = PAGE, width: int = 560) -> Chart:
    """Where updates went: one tile a kind of weight (down) and layer (across); the darker, the larger.

    Args:
        rows: ``layer, part, size, description``.
        theme: Colours.
        width: Of the plot.
    """
    largest = max((row["size"] for row in rows), default=1.0) or 1.0
    parts = list(dict.fromkeys(row["part"] for row in rows))
    x = alt.X("layer:O", title="layer", axis=alt.Axis(labelAngle=0))
    y = alt.Y("part:N", sort=parts, title=None, axis=alt.Axis(labelLimit=170, labelColor=theme.ink))
    base = alt.Chart(_data(rows)).encode(x=x, y=y)
    tile = base.mark_rect(color=theme.arms[0], stroke=theme.paper, strokeWidth=1.5).encode(
        opacity=alt.Opacity("size:Q", scale=alt.Scale(domain=[0, largest], range=[0.05, 1]), legend=None),
        description="description:N",
    )
    return alt.layer(tile).properties(width=width, height=max(60, 24 * len(parts)))


def legend(arms: Sequence[Arm]) -> list[dict[str, object]]:
    """The arms as the page's own legend shows them."""
    return [{"name": arm.short, "label": arm.label, "index": arm.index % 6, "shape": arm.shape} for arm in arms]
