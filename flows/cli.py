"""The `einfluence` command. Heavy imports wait until a command needs them."""

from __future__ import annotations

import json
import os
import shutil
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from einfluence.errors import InputError

if TYPE_CHECKING:
    from einfluence.run import Result
    from einfluence.store.store import Store

app = typer.Typer(
    name="einfluence",
    help="What did this one example teach my model, and did it learn it the way it should?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

SpecFile = Annotated[Path | None, typer.Argument(help="Spec file (YAML); without one, the shipped default.")]
StoreRoot = Annotated[str, typer.Option("--store", help="Folder of the store.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Prefect's own log, and tracebacks.")]
DEFAULT_STORE = "einfluence-store"


def main() -> None:
    """Runs the command; exits with 0 done, 1 some probes failed, 2 bad input."""
    verbose = "-v" in sys.argv or "--verbose" in sys.argv
    try:
        app()
    except InputError as error:
        if verbose:
            traceback.print_exc()
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
    except Exception as error:
        if verbose:
            traceback.print_exc()
        typer.echo(f"error: {type(error).__name__}: {error} (-v shows where)", err=True)
        sys.exit(1)


@app.command()
def run(
    spec: SpecFile = None,
    store: StoreRoot = DEFAULT_STORE,
    runner: Annotated[Literal["inline", "threads"], typer.Option(help="Where blocks are computed.")] = "inline",
    as_json: Annotated[bool, typer.Option("--json", help="End with one JSON object on stdout.")] = False,
    verbose: Verbose = False,
) -> None:
    """Measure what the spec wants and the store lacks; then score it and write the report."""
    from einfluence.run import nothing_to_do
    from einfluence.spec import load_spec
    from einfluence.store.store import Store

    _quiet_prefect(verbose)
    file = spec or _default_spec()
    opened = Store(store)
    result = nothing_to_do(load_spec(file), opened)
    if result is None:
        from flows.measure import with_runner

        result = with_runner(runner)(str(file), store, runner)
    else:
        typer.echo(f"nothing to do: all {result.wanted:,} cells are in {result.store}", err=True)
    if as_json:
        typer.echo(json.dumps(result.to_json()))
    else:
        _tell(result, opened)
    raise typer.Exit(1 if result.failed else 0)


@app.command()
def plan(spec: SpecFile = None, store: StoreRoot = DEFAULT_STORE) -> None:
    """Say what a run would compute: wanted, present and missing cells, and what they cost."""
    from einfluence.run import estimate
    from einfluence.spec import load_spec
    from einfluence.store.store import Store

    typer.echo(estimate(load_spec(spec or _default_spec()), Store(store)))


@app.command()
def sql(
    query: Annotated[str | None, typer.Argument(help="One statement that reads; without it: the tables.")] = None,
    store: StoreRoot = DEFAULT_STORE,
    output: Annotated[Literal["table", "json", "csv", "parquet"], typer.Option("--format")] = "table",
) -> None:
    """Ask the store in DuckDB SQL. Views: samples, probes, relations, influence, desiderata, ..."""
    from einfluence.store.views import read_only

    if query is None:
        return _describe_tables()
    with _existing(store).connect(sealed=True) as connection:
        _print_rows(read_only(connection, query).to_arrow_table(), output)


@app.command()
def report(
    store: StoreRoot = DEFAULT_STORE,
    out: Annotated[Path | None, typer.Option(help="The file to write; by default report.html in the store.")] = None,
) -> None:
    """Write the HTML report of a store anew."""
    from einfluence.run import report_store

    opened = _existing(store)
    runs = opened.runs()
    typer.echo(report_store(opened, out or opened.root / "report.html", runs[-1] if runs else {}))


@app.command()
def init(folder: Annotated[Path, typer.Argument(help="Where to put the files.")] = Path(".")) -> None:
    """Write a commented spec.yaml, samples.jsonl and relations.csv to start from."""
    from einfluence.embedded import data_folder

    templates = sorted((data_folder() / "init").iterdir())
    there = [folder / file.name for file in templates if (folder / file.name).exists()]
    if there:
        raise InputError(str(there[0]), "a file that is there already", "a folder without one", "name another")
    folder.mkdir(parents=True, exist_ok=True)
    for file in templates:
        shutil.copyfile(file, folder / file.name)
        typer.echo(folder / file.name)
    typer.echo(f"now: einfluence run {folder / 'spec.yaml'}", err=True)


def _default_spec() -> Path:
    from einfluence.embedded import data_folder

    return data_folder() / "specs" / "default.yaml"


def _existing(store: str) -> Store:
    from einfluence.store.store import Store

    opened = Store(store)
    if not opened.exists:
        raise InputError("--store", f"{opened.root}, which holds no store", "one that `einfluence run` has written to")
    return opened


def _quiet_prefect(verbose: bool) -> None:
    """Prefect reads its settings when it is imported, so they are set before."""
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if not verbose:
        os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
        os.environ.setdefault("PREFECT_SERVER_LOGGING_LEVEL", "CRITICAL")


def _tell(result: Result, store: Store) -> None:
    from rich.console import Console

    from einfluence.report import show_scorecard

    console = Console(width=None if sys.stdout.isatty() else 120)
    with store.connect() as connection:
        console.print(show_scorecard(connection))
    console.print(
        f"{result.wanted:,} cells wanted, {result.present:,} were present, {result.computed:,} computed, "
        f"{result.failed} probes failed, {result.seconds:.0f} s"
    )
    for probe, reason in list(result.reasons.items())[:10]:
        console.print(f"failed: probe {probe}: {reason}", markup=False)
    console.print(f"store:  {result.store}\nreport: {result.report}", soft_wrap=True)


def _describe_tables() -> None:
    from rich.console import Console

    from einfluence.store.schema import TABLES
    from einfluence.store.views import EXTRA

    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    for name, schema in TABLES.items():
        console.print(f"\n{name}: {schema.metadata[b'doc'].decode()}", markup=False)
        for field in schema:
            console.print(f"  {field.name:16} {field.type!s:14} {field.metadata[b'doc'].decode()}", markup=False)
        if name in EXTRA:
            console.print(
                f"  {'influence':16} {'double':14} nats; {EXTRA[name]}; positive where it helped", markup=False
            )


def _print_rows(table: Any, output: str) -> None:
    if output == "table":
        from rich.console import Console
        from rich.table import Table

        shown = Table(*table.column_names, caption=f"{table.num_rows} rows")
        for row in table.slice(0, 200).to_pylist():
            shown.add_row(*(_cell(value) for value in row.values()))
        Console(width=None if sys.stdout.isatty() else 160).print(shown)
    elif output == "json":
        typer.echo(json.dumps(table.to_pylist(), default=str, ensure_ascii=False))
    elif output == "csv":
        import pyarrow.csv

        pyarrow.csv.write_csv(table, sys.stdout.buffer)
    else:
        import pyarrow.parquet

        pyarrow.parquet.write_table(table, sys.stdout.buffer)


def _cell(value: object) -> str:
    text = "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("[", "\\[") if len(text) <= 60 else text[:59].replace("[", "\\[") + "…"


if __name__ == "__main__":
    main()
