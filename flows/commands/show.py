"""`einfluence show`: the scorecard, or one probe, on the terminal."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.commands.options import DEFAULT_STORE, StoreRoot, existing
from flows.commands.printing import terminal


def show(
    probe: Annotated[str | None, typer.Argument(help="A probe's name or id: what it helped and hurt most.")] = None,
    store: StoreRoot = DEFAULT_STORE,
) -> None:
    """Print the scorecard, or one probe."""
    from einfluence.report.terminal import show_probe, show_scorecard

    with existing(store).connect() as connection:
        terminal().print(show_probe(connection, probe) if probe else show_scorecard(connection))
