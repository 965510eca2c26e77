"""Colours and type of the charts: as CSS variables for the page, as literal colours for files that stand alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

FONT = "Inter, Helvetica Neue, Helvetica, Arial, sans-serif"
SHAPES = ("circle", "square", "diamond", "triangle-up", "cross", "triangle-down")

# Diverging and safe for colour-blind readers: brown for hurt, blue for helped. Zero is the paper's colour.
HURT = ((0x7A, 0x3B, 0x06), (0xC9, 0x6A, 0x12), (0xF0, 0xB8, 0x74))
HELPED = ((0x8F, 0xBC, 0xE6), (0x2F, 0x78, 0xC0), (0x0B, 0x3C, 0x7D))


@dataclass(frozen=True)
class Theme:
    """The colours that a chart needs; ``arms`` go to arms in their order; ``legend`` where nothing else names them."""

    ink: str
    muted: str
    line: str
    paper: str
    band: str
    arms: tuple[str, ...]
    legend: bool = False


PAGE = Theme(
    ink="var(--ink)",
    muted="var(--muted)",
    line="var(--line)",
    paper="var(--paper)",
    band="var(--band)",
    arms=tuple(f"var(--arm-{index})" for index in range(6)),
)
LIGHT = Theme(
    ink="#1d1e21",
    muted="#5a5d64",
    line="#dcd8cf",
    paper="#fdfcf9",
    band="#f1eee6",
    arms=("#0b66b0", "#b0500a", "#0d7a5f", "#8446a0", "#6b6200", "#a3324e"),
)
DARK = Theme(
    ink="#ebe9e4",
    muted="#a9abb1",
    line="#363a42",
    paper="#14161a",
    band="#1e2127",
    arms=("#6db4f4", "#f2a661", "#55cba6", "#cfa2ea", "#d6cb5a", "#f492aa"),
)


def config(theme: Theme) -> dict[str, Any]:
    """The Vega-Lite configuration that all charts share."""
    return {
        "background": "transparent",
        "font": FONT,
        "view": {"stroke": None},
        "axis": {
            "labelColor": theme.muted,
            "titleColor": theme.muted,
            "labelFontSize": 12,
            "titleFontSize": 12,
            "titleFontWeight": "normal",
            "gridColor": theme.line,
            "gridOpacity": 0.6,
            "domain": False,
            "ticks": False,
            "labelPadding": 6,
            "titlePadding": 8,
        },
        "header": {
            "labelColor": theme.ink,
            "titleColor": theme.ink,
            "labelFontSize": 13,
            "labelFontWeight": "bold",
            "labelAnchor": "start",
            "labelPadding": 6,
            "title": None,
        },
        "legend": {
            "labelColor": theme.ink,
            "titleColor": theme.muted,
            "labelFontSize": 13,
            "titleFontSize": 12,
            "symbolSize": 90,
            "orient": "top",
            "title": None,
            "symbolType": "circle",
            "labelLimit": 340,
            "columnPadding": 30,
        },
        "text": {"color": theme.ink, "fontSize": 12},
    }
