"""`einfluence explore`: a local page over a store."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from flows.commands.options import DEFAULT_STORE, StoreRoot, existing


def explore(
    store: StoreRoot = DEFAULT_STORE,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Where to listen on this machine; a free one by default.")
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open the browser.")] = True,
) -> None:
    """Serve a local page over the store: charts, a read-only SQL box, downloads. Prints its address."""
    from einfluence.report.explore import explore as serve

    def say(address: str) -> None:
        typer.echo(f"exploring {store} at {address}")
        sys.stdout.flush()

    raise typer.Exit(serve(existing(store).root, say, port=port, browser=browser))
