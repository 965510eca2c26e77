"""`einfluence figures`: the report's figures as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.commands.options import DEFAULT_STORE, StoreRoot, existing


def figures(
    folder: Annotated[Path | None, typer.Argument(hidden=True)] = None,  # what --out was once
    out: Annotated[Path, typer.Option(help="The folder where the files go.")] = Path("figures"),
    store: StoreRoot = DEFAULT_STORE,
    output: Annotated[Literal["svg", "pdf", "png"], typer.Option("--format", help="Of the files.")] = "svg",
    look: Annotated[
        Literal["light", "dark", "auto"],
        typer.Option(help="auto: an SVG that follows the reader's light or dark setting."),
    ] = "light",
) -> None:
    """Write the report's figures as files, for papers."""
    from einfluence.report import figures as draw

    with existing(store).connect() as connection:
        for path in draw(connection, folder or out, output, look):
            typer.echo(path)
