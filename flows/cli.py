"""The `einfluence` command: its commands (flows/commands/), and how each of them ends."""

from __future__ import annotations

import io
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Annotated, Any, NoReturn

import typer

from einfluence.errors import InputError
from einfluence.visible import visible
from flows.commands.blame import blame
from flows.commands.check import check
from flows.commands.clean import clean
from flows.commands.compare import compare
from flows.commands.curate import curate
from flows.commands.doctor import doctor
from flows.commands.explore import explore
from flows.commands.export import export
from flows.commands.figures import figures
from flows.commands.import_scores import import_scores
from flows.commands.init import init
from flows.commands.loudness import heeding_loudness
from flows.commands.plan import plan
from flows.commands.report import report
from flows.commands.run import run
from flows.commands.saliency import saliency
from flows.commands.serve import serve
from flows.commands.show import show
from flows.commands.sql import sql
from flows.commands.suspects import suspects
from flows.commands.unlearn import unlearn
from flows.commands.verify import verify


def _version(wanted: bool) -> None:
    if wanted:
        from einfluence import __version__

        typer.echo(f"einfluence {__version__}")
        raise typer.Exit


FORMER = {"most": "limit", "first": "limit"}  # options that had another name once, and are taken by it still


def _today(option: str) -> str:
    return FORMER.get(option, option)


app = typer.Typer(
    name="einfluence",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"token_normalize_func": _today},
)


@app.callback()
def einfluence(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, help="Print the version, and end.", callback=_version)
    ] = False,
) -> None:
    """What did this one example teach my model, and did it learn it the way it should?"""


for command in (
    run,
    plan,
    curate,
    sql,
    report,
    init,
    serve,
    verify,
    show,
    blame,
    saliency,
    suspects,
    compare,
    check,
    figures,
    explore,
    export,
    clean,
    unlearn,
    doctor,
):
    app.command()(heeding_loudness(command))
app.command("import")(heeding_loudness(import_scores))


def main() -> None:
    """Runs the command; docs/operations.md has its exit codes."""
    verbose = "-v" in sys.argv or "--verbose" in sys.argv
    warnings.showwarning = _warned(warnings.showwarning)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that lacks a letter shows its number
    try:
        app()
    except InputError as error:
        _end(error, f"{error}", 2, verbose)
    except (SystemExit, BrokenPipeError) as ended:
        if not isinstance(ended.__context__ or ended, BrokenPipeError):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read the output has seen enough
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

    def one_line(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if not category.__module__.startswith("einfluence."):
            otherwise(message, category, *where, **more)
        elif str(message) not in seen:
            seen.add(str(message))
            typer.echo(visible(f"warning: {message}"), err=True)

    return one_line


def _let_go(error: BaseException | None) -> None:
    """Frees what the failed functions held: DuckDB prints a line for each of its objects that lives to the end."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


if __name__ == "__main__":
    main()
