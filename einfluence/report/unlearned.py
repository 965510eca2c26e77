"""How far an unlearned model is from the retraining, for a terminal."""

from __future__ import annotations

import duckdb
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from einfluence.report.query import Rows, rows
from einfluence.store.store import ArmKey

CLAIM = "Distance to the retraining is what is measured, not privacy: nothing here says what could still be got out."


def unlearned(connection: duckdb.DuckDBPyConnection, key: ArmKey, training: str, reference: str) -> Rows:
    """What a store has of one unlearning beside its retraining, by place; no rows where it lacks either.

    Args:
        connection: Has the store's views.
        key: The arm of the trainings.
        training: The unlearned one.
        reference: The retraining without the forget set.
    """
    return rows(
        connection,
        "unlearned",
        base=key.base,
        recipe=key.recipe,
        seed=key.seed,
        training=training,
        reference=reference,
    )


def show_unlearned(found: Rows) -> RenderableType:
    """What :func:`unlearned` found, for a terminal."""
    title = Text("nats from the retraining without the forget set, median over queries; share in the first rank")
    table = Table(title=title, title_justify="left", title_style="italic", box=None, pad_edge=False)
    table.add_column("queries")
    for name in ("n", "trained on all", "unlearned", "closed", "first: on all", "unlearned", "retrained"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in found:
        nats = [f"{row[name]:.3f}" for name in ("gap_full", "gap")]
        closed = "–" if row["closed"] is None else f"{row['closed']:.0%}"
        first = [
            "–" if row[name] is None else f"{row[name]:.0%}" for name in ("first_full", "first", "first_retrained")
        ]
        table.add_row(row["place"], f"{row['n']:,}", *nats, closed, *first)
    return table
