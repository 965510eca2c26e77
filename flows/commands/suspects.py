"""`einfluence suspects`: samples of a training set that are worth looking at."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.commands.options import DEFAULT_STORE, AsCsv, AsJson, Limit, Rows, StoreRoot, existing, form
from flows.commands.printing import print_rows, terminal


def suspects(
    store: StoreRoot = DEFAULT_STORE,
    limit: Limit = 10,
    estimator: Annotated[str | None, typer.Option(help="Only by this one, e.g. leave_one_out.")] = None,
    rows: Rows = "table",
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Print samples of a training set that are likely mislabelled, memorised, duplicated or harmful."""
    from einfluence.report.suspects import show_suspects
    from einfluence.report.suspects import suspects as found_in

    with existing(store).connect() as connection:
        found = found_in(connection, limit, estimator)
    if (output := form(rows, as_json, as_csv)) != "table":
        print_rows(found, output)
    else:
        terminal().print(show_suspects(found))
