"""`einfluence verify`: whether a store is whole."""

from __future__ import annotations

from typing import Annotated

import typer

from einfluence.errors import InputError
from einfluence.visible import visible
from flows.commands.loudness import note
from flows.commands.options import DEFAULT_STORE, StoreRoot


def verify(
    store: StoreRoot = DEFAULT_STORE,
    repair: Annotated[
        bool, typer.Option("--repair", help="Set damaged files aside; the next run computes them again.")
    ] = False,
    migrate: Annotated[
        bool,
        typer.Option("--migrate", help="Bring a store of an earlier version up to date; nobody else may be writing."),
    ] = False,
) -> None:
    """Read a whole store and name what is damaged, missing or foreign (exit 1 if anything is)."""
    from einfluence.store.store import Store
    from einfluence.store.verify import verify as look

    opened = Store(store, check=False)
    if not opened.root.is_dir():
        raise InputError("--store", f"{opened.url}, which holds no store", "what `einfluence run` has written to")
    read, faults = look(opened, repair=repair)
    for fault in faults:
        typer.echo(visible(f"{fault.kind}: {fault.name} ({fault.detail})"))
    bad = [fault for fault in faults if fault.kind != "leftover"]
    mended = "; set aside in .aside, the next run computes it anew" if bad and repair else ""
    note(f"{read:,} files read, {len(bad)} faults{mended}")
    if bad and not repair:
        raise typer.Exit(1)
    if migrate:
        from einfluence.store.migrate import migrate as carry_over

        note(f"{carry_over(opened):,} cells carried over")
