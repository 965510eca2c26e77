"""`einfluence blame`: which samples raised or lowered one query most."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.commands.options import DEFAULT_STORE, AsCsv, AsJson, Limit, Rows, StoreRoot, existing, form
from flows.commands.printing import print_rows, terminal


def blame(
    query: Annotated[str, typer.Argument(help="A query's name or id.")],
    store: StoreRoot = DEFAULT_STORE,
    limit: Limit = 10,
    estimator: Annotated[
        str | None, typer.Option(help="Only by this one, e.g. leave_one_out; by default those within a training set.")
    ] = None,
    rows: Rows = "table",
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Print which samples raised or lowered a query most, in nats."""
    from einfluence.report.blame import blamed, query_called, show_blamed

    with existing(store).connect() as connection:
        sample_id = query_called(connection, query)
        found = blamed(connection, sample_id["sample_id"], limit, estimator)
    if (output := form(rows, as_json, as_csv)) != "table":
        print_rows(found, output)
    else:
        terminal().print(show_blamed(sample_id, found))
