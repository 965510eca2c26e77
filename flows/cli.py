"""The `einfluence` command. Heavy imports wait until a command needs them."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, cast

import typer

from einfluence.errors import InputError
from einfluence.visible import visible
from flows import questions
from flows.questions import DEFAULT_STORE, StoreRoot

if TYPE_CHECKING:
    from einfluence.samples import Curated
    from einfluence.score import Result
    from einfluence.session import Session
    from einfluence.spec import Part, Spec
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
Runners = Annotated[
    str,
    typer.Option(
        "--runner", help="Where shards are computed: inline, threads, processes, dask, ray, dask://HOST:8786."
    ),
]
Workers = Annotated[int, typer.Option("--workers", min=1, help="Shards at once, but for inline and an address.")]
DaskAddress = Annotated[str | None, typer.Option("--dask-address", help="With --runner dask: tcp://HOST:8786.")]
Device = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps; of several GPUs each worker takes one.")
]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Prefect's own log, and tracebacks.")]


def main() -> None:
    """Runs the command; exits with 0 done, 1 some probes failed, 2 bad input."""
    verbose = "-v" in sys.argv or "--verbose" in sys.argv
    warnings.showwarning = _warned(warnings.showwarning)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that lacks a letter shows its number
    try:
        app()
    except InputError as error:
        _end(error, f"{error}", 2, verbose)
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        if error.filename is None:
            _end(error, f"{type(error).__name__}: {error} (-v shows where)", 1, verbose)
        where = os.fsdecode(error.filename)
        _end(error, f"{where}: found {error.strerror}; expected a file or folder that can be used", 2, verbose)
    except Exception as error:
        _end(error, f"{type(error).__name__}: {error} (-v shows where)", 1, verbose)


def _end(error: Exception, message: str, code: int, verbose: bool) -> NoReturn:
    if verbose:
        typer.echo(visible("".join(traceback.format_exception(error))), err=True)
    typer.echo(visible(f"error: {message}"), err=True)
    _let_go(error)
    sys.exit(code)


def _warned(otherwise: Callable[..., None]) -> Callable[..., None]:
    """Shows the library's own warnings in one line, once each; all others as before."""
    seen: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if not category.__module__.startswith("einfluence."):
            otherwise(message, category, *where, **more)
        elif str(message) not in seen:
            seen.add(str(message))
            typer.echo(visible(f"warning: {message}"), err=True)

    return show


def _let_go(error: BaseException | None) -> None:
    """Frees what the failed functions held: DuckDB prints a line for each of its objects that lives to the end."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


@app.command()
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
    from einfluence.run import nothing_to_do
    from einfluence.spec import load_spec
    from einfluence.store.store import Store

    _quiet_prefect(verbose)
    file = spec or _default_spec()
    opened, wanted = Store(store), load_spec(file)
    where = _usable(runner, dask_address, device)
    result = nothing_to_do(wanted, opened)
    if result is None:
        with _told_when_stopped(opened):
            from flows.server import server_for_a_run, told_of_its_loss

            until_it_answers = server_for_a_run()
            from einfluence.prepare import load_ahead
            from einfluence.session import session_here
            from flows.measure import measure

            load_ahead(wanted, opened, session_here(device, None), computes=runner in ("inline", "threads"))
            until_it_answers()
            with told_of_its_loss():
                result = cast("Result", measure(str(file), store, where, workers, device=device))
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
    from einfluence.estimate import estimate
    from einfluence.spec import load_spec
    from einfluence.store.store import Store

    found = estimate(load_spec(spec or _default_spec()), Store(store))
    for row in found.rows:
        typer.echo(f"{row.part}: {row.arm}")
        cells = f"{row.wanted:,} cells wanted, {row.wanted - row.missing:,} present, {row.missing:,} missing"
        typer.echo(f"  {cells}: {row.probes:,} probes, about {questions.duration(row.seconds)}")
        if row.missing:
            typer.echo(f"  by {row.how}")
    typer.echo(
        f"in all about {questions.duration(found.seconds)} on one worker, {found.memory / 1e9:.1f} GB of memory, "
        f"{found.disk / 1e6:.1f} MB of disk"
    )


@app.command()
def curate(
    spec: SpecFile = None,
    out: Annotated[Path | None, typer.Option(help="Write the tables as Parquet into this folder.")] = None,
    tokens: Annotated[bool, typer.Option("--tokens", help="Also print the tokens of a few samples.")] = False,
    sources: Annotated[bool, typer.Option("--sources", help="List the data sets that can be read instead.")] = False,
) -> None:
    """Make samples, probes and relations of a spec, and say what was made and what the gates found."""
    from rich.text import Text

    from einfluence.curate.output import write_tables
    from einfluence.curate.sources import listing
    from einfluence.curate.summary import summary
    from einfluence.prepare import curated_part
    from einfluence.session import Session
    from einfluence.spec import load_spec

    if sources:
        for item in listing():
            typer.echo(f"{item['name']:18} {item['title']} ({item['terms']})")
        return
    read, session = load_spec(spec or _default_spec()), Session()
    for part in read.parts:
        if out is not None and (part.name in ("", ".", "..") or "/" in part.name or "\0" in part.name):
            raise InputError(f"parts.{part.name}", repr(part.name), "a name that a folder in --out can have")
        made = curated_part(read, part, session)
        questions.terminal().print(Text(f"\n{part.name}"), summary(made))
        if tokens:
            _print_tokens(read, part, made, session)
        if out is not None:
            write_tables(made, out / part.name)


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
    with questions.existing(store).connect(sealed=True) as connection:
        _print_rows(read_only(connection, query), output)


@app.command()
def report(
    store: StoreRoot = DEFAULT_STORE,
    out: Annotated[Path | None, typer.Option(help="The file to write; by default report.html in the store.")] = None,
) -> None:
    """Write the HTML report of a store anew."""
    from einfluence.score import report_store

    opened = questions.existing(store)
    runs = opened.runs()
    written = report_store(opened, out or opened.root / "report.html", runs[-1] if runs else {})
    if out is None:
        opened.publish("report.html")
    typer.echo(visible(str(written)))


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


@app.command()
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
    """Go on measuring: at set times, when files change, or when a Prefect event or deployment run asks for it."""
    from einfluence.spec import load_spec

    _quiet_prefect(verbose)
    file = (spec or _default_spec()).resolve()
    load_spec(file)
    place = store if "://" in store else str(Path(store).expanduser().absolute())
    from flows.serve import check
    from flows.serve import serve as go_on

    watched = [path.resolve() for path in watch or []]
    check(cron, watched)
    where = _usable(runner, dask_address, device)
    from flows.server import a_server

    with a_server(port) as url:
        typer.echo(f"serving measure/{name} at {url}; the UI is at {url.removesuffix('/api')}", err=True)
        parameters = {"spec_file": str(file), "store": place, "runner": where, "workers": workers, "device": device}
        go_on(name, parameters, cron, watched)


@app.command()
def verify(
    store: StoreRoot = DEFAULT_STORE,
    repair: Annotated[bool, typer.Option("--repair", help="Set it aside; the next run computes it anew.")] = False,
    migrate: Annotated[
        bool, typer.Option("--migrate", help="Carry a store of an earlier version over; nobody else may be writing.")
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
    typer.echo(f"{read:,} files read, {len(bad)} faults{mended}", err=True)
    if bad and not repair:
        raise typer.Exit(1)
    if migrate:
        from einfluence.store.migrate import migrate as carry_over

        typer.echo(f"{carry_over(opened):,} cells carried over", err=True)


@contextmanager
def _told_when_stopped(store: Store) -> Generator[None]:
    """SIGINT and SIGTERM drop the block in flight; what was finished is in the store, and the user hears so."""

    def stop(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)  # a second one ends the process at once
        raise Stopped(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except (Stopped, KeyboardInterrupt, SystemExit) as error:
        number = error.args[0] if isinstance(error, Stopped) else signal.SIGINT
        typer.echo(f"stopped: what was finished is kept in {store.url}; the same command goes on from there", err=True)
        raise typer.Exit(128 + number) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Stopped(BaseException):
    """A signal asked the run to stop."""


for question in (questions.show, questions.compare, questions.check, questions.figures, questions.explore):
    app.command()(question)


def _usable(runner: str, dask_address: str | None, device: str) -> str:
    """The runner with its address; refuses what is not installed or not there before anything is started."""
    from einfluence.devices import chosen, devices
    from einfluence.runners import addressed, check_runner

    where = addressed(runner, dask_address)
    check_runner(where)
    if device not in ("auto", "cpu"):
        chosen(device, devices(), 0)
    return where


def _default_spec() -> Path:
    from einfluence.embedded import data_folder

    return data_folder() / "specs" / "default.yaml"


def _quiet_prefect(verbose: bool) -> None:
    """Prefect reads its settings when it is imported, so they are set before."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if not verbose:  # the server gets the log all the same, for its UI
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
        os.environ.setdefault("PREFECT_SERVER_LOGGING_LEVEL", "CRITICAL")


def _tell(result: Result, store: Store) -> None:
    from einfluence.report.terminal import show_scorecard

    console = questions.terminal()
    with store.connect() as connection:
        console.print(show_scorecard(connection))
    console.print(
        f"{result.wanted:,} cells wanted, {result.present:,} were present, {result.computed:,} computed, "
        f"{result.failed} probes failed, {result.seconds:.0f} s"
    )
    for probe, reason in list(result.reasons.items())[:10]:
        console.print(f"failed: probe {probe}: {reason}", markup=False, highlight=False)
    console.print(f"store:  {result.store}\nreport: {result.report}", soft_wrap=True, markup=False, highlight=False)


def _describe_tables() -> None:
    from einfluence.store.schema import TABLES

    console = questions.terminal()
    for name, schema in TABLES.items():
        console.print(f"\n{name}: {schema.metadata[b'doc'].decode()}", markup=False, highlight=False)
        for field in schema:
            console.print(
                f"  {field.name:16} {field.type!s:14} {field.metadata[b'doc'].decode()}", markup=False, highlight=False
            )


def _print_tokens(spec: Spec, part: Part, made: Curated, session: Session) -> None:
    from einfluence.seen import seen

    typer.echo("\ntokens, with ‖ before the target:")
    for who, tokens in seen(spec, part, made, session):
        typer.echo(visible(f"  {who}: {tokens}"))


def _print_rows(table: Any, output: str) -> None:
    """Prints all of a table; on a terminal no character that it would obey, in files and pipes every byte."""
    if output == "table":
        questions.print_table(table)
    elif output == "json":
        rows = table.to_pylist()
        text = json.dumps(rows, default=str, ensure_ascii=False)
        if text != visible(text):  # JSON's own escapes, which read as the same
            text = json.dumps(rows, default=str).replace("\x7f", "\\u007f")
        typer.echo(text)
    elif output == "csv":
        import pyarrow.csv

        written = io.BytesIO()
        pyarrow.csv.write_csv(table, written)
        if sys.stdout.isatty():
            typer.echo(visible(written.getvalue().decode()), nl=False)
        else:
            sys.stdout.buffer.write(written.getvalue())
            sys.stdout.buffer.flush()
    else:
        import pyarrow.parquet

        if sys.stdout.isatty():
            raise InputError("--format parquet", "a terminal", "a file or a pipe, e.g. `> rows.parquet`")
        pyarrow.parquet.write_table(table, sys.stdout.buffer)


if __name__ == "__main__":
    main()
