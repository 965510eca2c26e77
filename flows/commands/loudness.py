"""How much a command says beside its result: `--quiet` and `--verbose`, which every command takes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from typing import Annotated, Any

import typer

from einfluence.visible import visible

Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No notes beside the result; warnings and errors remain.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Prefect's own log, and tracebacks.")]

_quiet: ContextVar[bool] = ContextVar("quiet", default=False)


def quiet() -> bool:
    """Whether the command that runs was called with `--quiet`."""
    return _quiet.get()


def note(text: str) -> None:
    """Prints a line on stderr beside a command's result, unless it was called with `--quiet`."""
    if not quiet():
        typer.echo(visible(text), err=True)


def heeding_loudness(command: Callable[..., Any]) -> Callable[..., Any]:
    """A command with the options `--quiet` and `--verbose`; one that has a parameter `verbose` is passed it."""
    own = inspect.signature(command, eval_str=True)
    added = {"quiet": Quiet, "verbose": Verbose}
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=annotation)
        for name, annotation in added.items()
        if name not in own.parameters
    ]

    @functools.wraps(command)
    def loudly(**given: Any) -> Any:
        before = _quiet.set(given["quiet"])
        try:
            return command(**{name: value for name, value in given.items() if name in own.parameters})
        finally:
            _quiet.reset(before)

    signature = own.replace(parameters=[*own.parameters.values(), *more])
    setattr(loudly, "__signature__", signature)  # noqa: B010 - a function's type has no such attribute
    loudly.__annotations__ = {name: each.annotation for name, each in signature.parameters.items()}
    return loudly
