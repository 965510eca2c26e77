"""`einfluence plan`: what a run would compute, and what it would cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from einfluence.errors import InputError
from flows.commands.options import DEFAULT_STORE, Device, SpecFile, StoreRoot, default_spec
from flows.commands.printing import duration

SizesFile = Annotated[
    Path | None, typer.Option("--sizes", help="A run by its numbers alone (YAML), without a spec: docs/large-runs.md.")
]
ProfileFile = Annotated[
    Path | None, typer.Option("--device-profile", help="With --sizes: what was measured of a device (JSON).")
]
Devices = Annotated[int, typer.Option("--workers", min=1, help="With --sizes: how many such devices.")]


def plan(
    spec: SpecFile = None,
    store: StoreRoot = DEFAULT_STORE,
    device: Device = "auto",
    sizes: SizesFile = None,
    device_profile: ProfileFile = None,
    workers: Devices = 1,
) -> None:
    """Print what a run would compute: wanted, present and missing cells, and what they cost."""
    if sizes is not None or device_profile is not None:
        if sizes is None or device_profile is None or spec is not None:
            found = "a spec" if spec is not None else "one of them"
            raise InputError("plan", found, "--sizes and --device-profile together, without a spec")
        return _of_sizes(sizes, device_profile, workers)
    if workers != 1:
        raise InputError(
            "plan", "--workers", "--sizes and --device-profile beside it: a spec is planned for one worker"
        )
    _of_spec(spec or default_spec(), store, device)


def _of_spec(spec: Path, store: str, device: str) -> None:
    from einfluence.estimate import estimate
    from einfluence.spec import load_spec
    from einfluence.store.store import Store

    found = estimate(load_spec(spec), Store(store), device=device)
    for row in found.rows:
        typer.echo(f"{row.part}: {row.arm}")
        wanted = f"{row.wanted:,} {row.unit}{'' if row.wanted == 1 else 's'} wanted"
        counts = f"{wanted}, {row.wanted - row.missing:,} present, {row.missing:,} missing"
        probes = f"{row.probes:,} probes, " if row.unit == "cell" else ""
        typer.echo(f"  {counts}: {probes}about {duration(row.seconds)}")
        if row.missing:
            typer.echo(f"  by {row.how}")
    typer.echo(
        f"in all about {duration(found.seconds)} on one worker, {found.memory / 1e9:.1f} GB of memory, "
        f"{found.disk / 1e6:.1f} MB of disk"
    )


def _of_sizes(sizes: Path, profile: Path, workers: int) -> None:
    from einfluence.large import large, load_profile, load_sizes, shape_of

    device, run = load_profile(profile), load_sizes(sizes)
    found = large(run, device, workers, shape_of(run.config))
    inferred = f", {found.estimated:,} estimated by their control" if found.estimated else ""
    lines = (
        f"{run.probes:,} probes x {run.queries:,} queries: {found.cells:,} cells measured{inferred}",
        f"  training {found.training:.3g} FLOPs, reading {found.reading:.3g}, control {found.control:.3g}",
        f"  {found.device_seconds / 3600:.1f} hours of {device.name}; on {workers} of them {duration(found.seconds)}",
        f"  in {found.shards:,} shards of at most {duration(found.longest)}, {found.idle:.1%} of their time idle",
        f"  each loads {found.base_bytes / 1e9:.1f} GB of weights; a probe in training holds "
        f"{found.probe_bytes / 1e6:.0f} MB",
        f"  the cells take {found.cell_bytes / 1e9:.1f} GB of disk",
    )
    for line in lines:
        typer.echo(line)
