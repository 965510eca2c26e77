"""`einfluence report`: the HTML report of a store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from einfluence.visible import visible
from flows.commands.options import DEFAULT_STORE, StoreRoot, existing


def report(
    store: StoreRoot = DEFAULT_STORE,
    out: Annotated[Path | None, typer.Option(help="The file to write; by default report.html in the store.")] = None,
) -> None:
    """Write the HTML report of a store again."""
    from einfluence.score import report_store

    opened = existing(store)
    runs = opened.runs()
    written = report_store(opened, out or opened.root / "report.html", runs[-1] if runs else {})
    if out is None:
        opened.publish("report.html")
    typer.echo(visible(str(written)))
