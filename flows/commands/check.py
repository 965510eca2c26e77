"""`einfluence check`: the scorecard against requirements, for a build."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.options import DEFAULT_STORE, AsJson, Rows, StoreRoot, existing, form
from flows.commands.printing import print_rows

if TYPE_CHECKING:
    import pyarrow as pa

SHORT = 3  # exit code of a requirement that is not met


def check(
    require: Annotated[
        list[str], typer.Option(help='E.g. "negation=met", "negation>=0.2" or "paraphrase>=baseline-0.05"; repeatable.')
    ],
    store: StoreRoot = DEFAULT_STORE,
    baseline: Annotated[str | None, typer.Option(help="The store that `baseline` refers to.")] = None,
    rows: Rows = "table",
    as_json: AsJson = False,
) -> None:
    """Check the scorecard against requirements, by the whole interval; exit code 3 unless all are met."""
    from einfluence.metrics import check as checked

    known = _scorecard(baseline) if baseline else None
    verdicts = checked(_scorecard(store), require, known)
    columns = ["requirement", "verdict", "estimator", "value", "ci_low", "ci_high", "bound", "note"]
    output = form(rows, as_json)
    print_rows(verdicts.select(columns) if output == "table" else verdicts, output)
    if any(verdict != "met" for verdict in verdicts["verdict"].to_pylist()):
        raise typer.Exit(SHORT)


def _scorecard(store: str) -> pa.Table:
    with existing(store).connect() as connection:
        return connection.table("desiderata").to_arrow_table()
