"""`einfluence show`: the scorecard, one probe, or the leaderboard of estimates, on the terminal."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.commands.options import DEFAULT_STORE, StoreRoot, existing
from flows.commands.printing import terminal


def show(
    probe: Annotated[str | None, typer.Argument(help="A probe's name or id: what it helped and hurt most.")] = None,
    store: StoreRoot = DEFAULT_STORE,
    leaderboard: Annotated[
        bool, typer.Option("--leaderboard", help="Which estimates say what training does, and what they miss.")
    ] = False,
) -> None:
    """Print the scorecard, one probe, or the leaderboard of estimates."""
    from einfluence.report.leaderboard import show_leaderboard
    from einfluence.report.terminal import show_probe, show_scorecard

    with existing(store).connect() as connection:
        if leaderboard:
            terminal().print(show_leaderboard(connection))
            return
        terminal().print(show_probe(connection, probe) if probe else show_scorecard(connection))
