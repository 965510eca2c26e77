"""`einfluence export`: a model that was trained on a training set, for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.commands.options import (
    DEFAULT_STORE,
    Device,
    Merged,
    OfPart,
    OfSeed,
    SpecFile,
    StoreRoot,
    WayOfTraining,
    default_spec,
    quiet_libraries,
)


def export(
    out: Annotated[Path, typer.Option(help="The folder to write, which must not be there yet.")],
    spec: SpecFile = None,
    training: Annotated[Literal["full"], typer.Option(help="Which training: full is that of the whole set.")] = "full",
    part: OfPart = None,
    arm: WayOfTraining = None,
    seed: OfSeed = None,
    merged: Merged = False,
    store: StoreRoot = DEFAULT_STORE,
    device: Device = "auto",
) -> None:
    """Write a trained model: LoRA as an adapter that peft loads, everything else as a model that transformers loads."""
    quiet_libraries()
    from einfluence.export import export as write
    from einfluence.session import Session
    from einfluence.spec import load_spec
    from einfluence.store.store import Store

    opened = Store(store)
    kept = opened if opened.exists else None
    found = write(
        load_spec(spec or default_spec()), out, Session(device), kept, part=part, arm=arm, seed=seed, merged=merged
    )
    typer.echo(f"{out}: {found}")
