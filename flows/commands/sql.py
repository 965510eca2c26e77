"""`einfluence sql`: queries over a store's tables."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.commands.options import DEFAULT_STORE, AsJson, Rows, StoreRoot, existing, form
from flows.commands.printing import print_rows, terminal


def sql(
    query: Annotated[str | None, typer.Argument(help="One statement that reads; without it: the tables.")] = None,
    store: StoreRoot = DEFAULT_STORE,
    rows: Rows = "table",
    as_json: AsJson = False,
) -> None:
    """Query the store in DuckDB SQL. Views: samples, probes, relations, influence, desiderata, ..."""
    from einfluence.store.views import read_only

    if query is None:
        return _describe_tables()
    with existing(store).connect(sealed=True) as connection:
        print_rows(read_only(connection, query), form(rows, as_json))


def _describe_tables() -> None:
    from einfluence.store.schema import TABLES

    console = terminal()
    for name, schema in TABLES.items():
        console.print(f"\n{name}: {schema.metadata[b'doc'].decode()}", markup=False, highlight=False)
        for field in schema:
            console.print(
                f"  {field.name:16} {field.type!s:14} {field.metadata[b'doc'].decode()}", markup=False, highlight=False
            )
