"""`einfluence curate`: the samples, probes and relations of a spec, without measuring anything."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from einfluence.errors import InputError
from einfluence.visible import visible
from flows.commands.options import Device, SpecFile, default_spec, quiet_libraries
from flows.commands.printing import terminal

if TYPE_CHECKING:
    from einfluence.samples import Curated
    from einfluence.session import Session
    from einfluence.spec import Part, Spec


def curate(
    spec: SpecFile = None,
    out: Annotated[Path | None, typer.Option(help="Write the tables as Parquet into this folder.")] = None,
    tokens: Annotated[
        bool, typer.Option("--tokens", help="Also print the first samples' tokens, and which are trained.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many samples --tokens prints.")] = 8,
    device: Device = "auto",
    sources: Annotated[bool, typer.Option("--sources", help="List the data sets that can be read instead.")] = False,
) -> None:
    """Make a spec's samples, probes and relations; print what was made and what the gates found."""
    from rich.text import Text

    from einfluence.curate.output import write_tables
    from einfluence.curate.sources import listing
    from einfluence.curate.summary import summary
    from einfluence.inputs import curated_part
    from einfluence.session import Session
    from einfluence.spec import load_spec

    if sources:
        for item in listing():
            typer.echo(f"{item['name']:18} {item['title']} ({item['terms']})")
        return
    quiet_libraries()
    read, session = load_spec(spec or default_spec()), Session(device)
    for part in read.parts:
        if out is not None and (part.name in ("", ".", "..") or "/" in part.name or "\0" in part.name):
            raise InputError(f"parts.{part.name}", repr(part.name), "a name that a folder in --out can have")
        made = curated_part(read, part, session)
        terminal().print(Text(f"\n{part.name}"), summary(made))
        if tokens:
            _print_tokens(read, part, made, session, limit)
        if out is not None:
            write_tables(made, out / part.name)


def _print_tokens(spec: Spec, part: Part, made: Curated, session: Session, first: int) -> None:
    from einfluence.seen import seen

    found = list(seen(spec, part, made, session, first))
    says = "tokens, with ‖ before what is trained and watched:" if found else "no tokens to show: this base reads none"
    typer.echo(f"\n{says}")
    for text in found:
        typer.echo(visible(f"  {text.who} ({text.size} tokens, {text.trained} trained): {text.tokens}"))
