"""A chart as the page holds it: drawn once for wide and once for narrow screens, with words for who cannot see it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import cast

import yaml
from markupsafe import Markup

from einfluence.report.charts import Chart, svg
from einfluence.report.theme import PAGE, Theme


@dataclass(frozen=True)
class Figure:
    """A chart that can be drawn in any theme and width.

    Args:
        name: Of its file, when exported.
        caption: What it shows and how to read it.
        alt: What a reader who cannot see it should know.
        draw: Makes the chart from a theme and whether the screen is narrow.
        head: Column titles of the numbers behind it.
        numbers: The rows of that table.
    """

    name: str
    caption: str
    alt: str
    draw: Callable[[Theme, bool], Chart]
    head: Sequence[str] = ()
    numbers: Sequence[Sequence[object]] = ()

    @property
    def wide(self) -> Markup:
        """The SVG for screens of 720 pixels and more."""
        return self.markup(PAGE, narrow=False)

    @property
    def narrow(self) -> Markup:
        """The SVG for smaller screens."""
        return self.markup(PAGE, narrow=True)

    def markup(self, theme: Theme, *, narrow: bool) -> Markup:
        """The SVG in a theme; Vega escapes the texts that it draws."""
        return Markup(svg(self.draw(theme, narrow), theme))


@cache
def _captions() -> dict[str, str]:
    text = (resources.files("einfluence.report") / "captions.yaml").read_text(encoding="utf-8")
    return cast("dict[str, str]", yaml.safe_load(text))


def caption(name: str, **values: object) -> str:
    """What :file:`captions.yaml` says under a figure."""
    return _captions()[name].format(**values)


def short(text: object, most: int = 120) -> str:
    """A text for a label or a tooltip: one line, cut at ``most`` characters."""
    line = " ".join(str(text).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def number(value: float | None, digits: int = 2) -> str:
    """A number as the page writes it, with a true minus sign."""
    if value is None:
        return "–"
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def interval(low: float | None, high: float | None, digits: int = 2) -> str:
    """An interval as the page writes it."""
    return f"{number(low, digits)} to {number(high, digits)}"
