"""`einfluence blame`: which samples raised or lowered one query most."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.commands.options import DEFAULT_STORE, StoreRoot, existing
from flows.commands.printing import print_rows, terminal


def blame(
    query: Annotated[str, typer.Argument(help="A query's name or id.")],
    store: StoreRoot = DEFAULT_STORE,
    most: Annotated[int, typer.Option(min=1, help="So many samples on either side.")] = 10,
    estimator: Annotated[
        str | None, typer.Option(help="Only by this one, e.g. leave_one_out; by default those within a training set.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the rows as JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the rows as CSV.")] = False,
) -> None:
    """Print which samples raised or lowered a query most, in nats."""
    from einfluence.report.blame import blamed, query_called, show_blamed

    with existing(store).connect() as connection:
        sample_id = query_called(connection, query)
        found = blamed(connection, sample_id["sample_id"], most, estimator)
    if as_json or as_csv:
        print_rows(found, "json" if as_json else "csv")
    else:
        terminal().print(show_blamed(sample_id, found))
