"""`einfluence run`: measure what is missing, score it and write the report."""

from __future__ import annotations

import gc
import json
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from einfluence.visible import visible
from flows.commands.loudness import Verbose, note, quiet
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
from flows.commands.printing import terminal

if TYPE_CHECKING:
    from einfluence.score import Result
    from einfluence.spec import Spec
    from einfluence.store.store import Store


def run(
    spec: SpecFile = None,
    store: StoreRoot = DEFAULT_STORE,
    runner: Runners = "inline",
    workers: Workers = 2,
    dask_address: DaskAddress = None,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="End with one JSON object on stdout.")] = False,
    verbose: Verbose = False,
) -> None:
    """Measure what the spec wants and the store lacks; then score it and write the report."""
    with _collecting_later():
        from einfluence.spec import load_spec
        from einfluence.store.store import Store

        quiet_prefect(verbose)
        file = spec or default_spec()
        opened, wanted = Store(store), load_spec(file)
        # Where nothing was ever run there is something to do: the server starts before runners and torch are imported.
        early = runner == "inline" and dask_address is None and not opened.runs()
        until_it_answers = _server(None) if early else None
        where = usable(runner, dask_address, device)
        from einfluence.run import nothing_to_do

        result = nothing_to_do(wanted, opened)
    if result is None:
        with stop_reported(opened):
            result = _measured(file, wanted, opened, where, workers, device, until_it_answers or _server(where))
    else:
        note(f"nothing to do: all {result.wanted:,} cells are in {result.store}")
    if as_json:
        typer.echo(json.dumps(result.to_json()))
    else:
        if not quiet():
            _tell(result, opened)
        for probe, reason in list(result.reasons.items())[:10]:
            typer.echo(visible(f"failed: probe {probe}: {reason}"), err=True)
    raise typer.Exit(1 if result.failed else 0)


def _server(runner: str | None) -> Callable[[], None]:
    """Starts Prefect's server, once a runner that is given was reached; returns what waits until it answers."""
    from flows.server import server_for_a_run

    if runner is not None:
        from einfluence.runners import reach

        reach(runner)
    return server_for_a_run()


def _measured(
    file: Path, spec: Spec, store: Store, runner: str, workers: int, device: str, until_it_answers: Callable[[], None]
) -> Result:
    """Runs the flow; Prefect's server starts while this process imports and loads what the flow needs."""
    with _collecting_later():
        from flows.server import its_loss_reported

        import_module("einfluence.engine")
        from einfluence.prepare import load_ahead
        from einfluence.session import session_here
        from flows.measure import measure
    load_ahead(spec, store, session_here(device, None), computes=runner in ("inline", "threads"))
    until_it_answers()
    with its_loss_reported():
        return cast("Result", measure(str(file), store.url, runner, workers, device=device))


@contextmanager
def _collecting_later() -> Generator[None]:
    """No garbage is looked for among what imports make meanwhile, which stays: that takes a fifth of their time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def stop_reported(store: Store) -> Generator[None]:
    """SIGINT and SIGTERM drop the block in flight; what was finished is in the store, and the user hears so."""

    def stop(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)  # a second one ends the process at once
        raise Stopped(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except (Stopped, KeyboardInterrupt, SystemExit) as error:
        number = error.args[0] if isinstance(error, Stopped) else signal.SIGINT
        typer.echo(f"stopped: what was finished is kept in {store.url}; the same command resumes from there", err=True)
        raise typer.Exit(128 + number) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Stopped(BaseException):
    """A signal to stop the run arrived."""


def _tell(result: Result, store: Store) -> None:
    from einfluence.report.terminal import show_scorecard

    console = terminal()
    with store.connect() as connection:
        console.print(show_scorecard(connection))
    console.print(
        f"{result.wanted:,} cells wanted, {result.present:,} were present, {result.computed:,} computed, "
        f"{result.failed} probes failed, {result.seconds:.0f} s"
    )
    console.print(f"store:  {result.store}\nreport: {result.report}", soft_wrap=True, markup=False, highlight=False)
