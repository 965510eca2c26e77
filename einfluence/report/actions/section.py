"""What the page shows of one kind of action."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from einfluence.report.figure import Figure
from einfluence.report.query import Arm


@dataclass(frozen=True)
class Section:
    """A sub-section: sentences, a chart and a table.

    Args:
        title: Its heading.
        about: What was done, in a sentence or two.
        sentences: What came of it.
        arms: Those of the chart's key.
        figure: The chart, if there is one.
        head: Column titles of the table.
        rows: The table.
        note: How to read the table.
    """

    title: str
    about: str
    sentences: Sequence[str]
    arms: Sequence[Arm]
    figure: Figure | None
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
