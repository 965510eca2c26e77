"""The page's section on actions: for each kind of action what it did, one file each."""

from __future__ import annotations

import duckdb

from einfluence.report.actions.ignoring import ignoring
from einfluence.report.actions.removal import removal
from einfluence.report.actions.section import Section
from einfluence.report.actions.unlearning import unlearning
from einfluence.report.query import Part, Rows

KINDS = (removal, ignoring, unlearning)
"""What makes the sub-section of a kind of action, in the order of the page."""


def actions(connection: duckdb.DuckDBPyConnection, part: Part, lines: Rows) -> list[Section]:
    """The sub-sections of a part; none where nothing was done.

    Args:
        connection: Has the store's views.
        part: The part.
        lines: Of its scorecard.
    """
    return [section for kind in KINDS if (section := kind(connection, part, lines)) is not None]
