"""`einfluence serve`: measuring again and again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.loudness import Verbose, note
from flows.commands.options import (
    DEFAULT_STORE,
    DaskAddress,
    Device,
    Runners,
    SpecFile,
    StoreRoot,
    Workers,
    default_spec,
    quiet_prefect,
    usable,
)


def serve(
    spec: SpecFile = None,
    store: StoreRoot = DEFAULT_STORE,
    cron: Annotated[str | None, typer.Option(help="When to run, e.g. '0 2 * * *' (UTC).")] = None,
    watch: Annotated[list[Path] | None, typer.Option(help="Run when this file or folder changes; repeatable.")] = None,
    name: Annotated[str, typer.Option(help="Name of the deployment.")] = "einfluence",
    runner: Runners = "inline",
    workers: Workers = 2,
    dask_address: DaskAddress = None,
    device: Device = "auto",
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Of the Prefect server started on 127.0.0.1 if none is named.")
    ] = 4200,
    verbose: Verbose = False,
) -> None:
    """Keep measuring: on a schedule, when files change, or on events."""
    from einfluence.spec import load_spec

    quiet_prefect(verbose)
    file = (spec or default_spec()).resolve()
    load_spec(file)
    place = store if "://" in store else str(Path(store).expanduser().absolute())
    from einfluence.runners import reach
    from flows.serve import check
    from flows.serve import serve as keep_measuring

    watched = [path.resolve() for path in watch or []]
    check(cron, watched)
    where = usable(runner, dask_address, device)
    reach(where)
    from flows.server import a_server

    with a_server(port) as url:
        note(f"serving measure/{name} at {url}; the UI is at {url.removesuffix('/api')}")
        parameters = {"spec_file": str(file), "store": place, "runner": where, "workers": workers, "device": device}
        keep_measuring(name, parameters, cron, watched)
