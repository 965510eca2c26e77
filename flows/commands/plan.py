"""`einfluence plan`: what a run would compute, and what it would cost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from einfluence.errors import InputError
from flows.commands.options import DEFAULT_STORE, Device, SpecFile, StoreRoot, default_spec
from flows.commands.printing import duration

if TYPE_CHECKING:
    from einfluence.large import Large, Profile

SizesFile = Annotated[
    Path | None, typer.Option("--sizes", help="A run by its numbers alone (YAML), without a spec: docs/large-runs.md.")
]
ProfileFile = Annotated[
    Path | None, typer.Option("--device-profile", help="Plan for this device: what was measured of it (JSON).")
]
Devices = Annotated[int, typer.Option("--workers", min=1, help="With --device-profile: how many such devices.")]


def plan(
    spec: SpecFile = None,
    store: StoreRoot = DEFAULT_STORE,
    device: Device = "auto",
    sizes: SizesFile = None,
    device_profile: ProfileFile = None,
    workers: Devices = 1,
) -> None:
    """Print what a run would compute: wanted, present and missing cells, and what they cost."""
    if sizes is not None:
        if device_profile is None or spec is not None:
            found = "a spec beside --sizes" if spec is not None else "--sizes alone"
            raise InputError("plan", found, "--sizes and --device-profile together, without a spec")
        return _of_sizes(sizes, device_profile, workers)
    if device_profile is not None:
        return _of_profile(spec or default_spec(), store, device, device_profile, workers)
    if workers != 1:
        raise InputError("plan", "--workers", "--device-profile beside it: a spec is rehearsed by one worker")
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
    typer.echo(f"{run.probes:,} probes x {run.queries:,} queries: {found.cells:,} cells measured{inferred}")
    for line in _counted(found, device, workers):
        typer.echo(f"  {line}")


def _of_profile(spec: Path, store: str, device: str, profile: Path, workers: int) -> None:
    from einfluence.large import load_profile
    from einfluence.profiled import foresee
    from einfluence.spec import load_spec
    from einfluence.store.store import Store

    on = load_profile(profile)
    rows = foresee(load_spec(spec), Store(store), on, workers, device=device)
    for row in rows:
        typer.echo(f"{row.part}: {row.arm}")
        if row.wanted:
            typer.echo(f"  {row.wanted:,} cells wanted, {row.wanted - row.missing:,} present, {row.missing:,} missing")
        for line in _counted(row.taken, on, workers) if row.taken else ():
            typer.echo(f"  {line}")
        if row.note:
            typer.echo(f"  {row.note}" if row.counted else f"  not counted: {row.note}")
    taken = [row.taken for row in rows if row.taken]
    whole, seconds = (sum(getattr(one, which) for one in taken) for which in ("device_seconds", "seconds"))
    disk, left = sum(one.cell_bytes for one in taken), sum(not row.counted for row in rows)
    beside = f"; not counted: {left} of {len(rows)} rows" if left else ""
    typer.echo(
        f"in all {duration(whole)} of {on.name}; on {workers} of them {duration(seconds)}, one arm after the other; "
        f"{disk / 1e9:.3g} GB of disk{beside}"
    )


def _counted(found: Large, device: Profile, workers: int) -> Iterator[str]:
    """What work takes, line by line."""
    yield f"training {found.training:.3g} FLOPs, reading {found.reading:.3g}, control {found.control:.3g}"
    yield f"{duration(found.device_seconds)} of {device.name}; on {workers} of them {duration(found.seconds)}"
    if found.shards:
        shards = f"{found.shards:,} shard{'' if found.shards == 1 else 's'}, {found.shards / workers:.1f} a worker"
        yield f"in {shards}, of at most {duration(found.longest)}, {found.idle:.1%} of their time idle"
    memory = f"; a probe in training holds {found.probe_bytes / 1e6:.3g} MB" if found.probe_bytes else ""
    yield f"each loads {found.base_bytes / 1e9:.3g} GB of weights{memory}"
    yield f"the cells take {found.cell_bytes / 1e9:.3g} GB of disk"
