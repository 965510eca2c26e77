"""`einfluence suspects`: samples of a training set that are worth looking at."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.commands.options import DEFAULT_STORE, StoreRoot, existing
from flows.commands.printing import print_rows, terminal


def suspects(
    store: StoreRoot = DEFAULT_STORE,
    most: Annotated[int, typer.Option(min=1, help="So many samples for each reason.")] = 10,
    estimator: Annotated[str | None, typer.Option(help="Only by this one, e.g. leave_one_out.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the rows as JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the rows as CSV.")] = False,
) -> None:
    """Print samples of a training set that are likely mislabelled, memorised, duplicated or harmful."""
    from einfluence.report.suspects import show_suspects
    from einfluence.report.suspects import suspects as found_in

    with existing(store).connect() as connection:
        found = found_in(connection, most, estimator)
    if as_json or as_csv:
        print_rows(found, "json" if as_json else "csv")
    else:
        terminal().print(show_suspects(found))
