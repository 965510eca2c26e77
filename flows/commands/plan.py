"""`einfluence plan`: what a run would compute, and what it would cost."""

from __future__ import annotations

import typer

from flows.commands.options import DEFAULT_STORE, Device, SpecFile, StoreRoot, default_spec
from flows.commands.printing import duration


def plan(spec: SpecFile = None, store: StoreRoot = DEFAULT_STORE, device: Device = "auto") -> None:
    """Print what a run would compute: wanted, present and missing cells, and what they cost."""
    from einfluence.estimate import estimate
    from einfluence.spec import load_spec
    from einfluence.store.store import Store

    found = estimate(load_spec(spec or default_spec()), Store(store), device=device)
    for row in found.rows:
        typer.echo(f"{row.part}: {row.arm}")
        cells = f"{row.wanted:,} cells wanted, {row.wanted - row.missing:,} present, {row.missing:,} missing"
        typer.echo(f"  {cells}: {row.probes:,} probes, about {duration(row.seconds)}")
        if row.missing:
            typer.echo(f"  by {row.how}")
    typer.echo(
        f"in all about {duration(found.seconds)} on one worker, {found.memory / 1e9:.1f} GB of memory, "
        f"{found.disk / 1e6:.1f} MB of disk"
    )
