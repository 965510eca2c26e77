"""Samples of a training set to look at: likely mislabelled, learned by heart, there twice, or harmful."""

from __future__ import annotations

from typing import Any

import duckdb
import pyarrow as pa
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from einfluence.errors import InputError
from einfluence.report.figure import short
from einfluence.report.query import rows
from einfluence.report.terminal import signed, style_of

REASONS = {
    "mislabelled": "Likely mislabelled: it helps itself and harms its class elsewhere",
    "contradicted": "Contradicted: another sample of the set is nearly the same text, with another label",
    "memorised": "Learned by heart: what it owes to itself",
    "duplicated": "There twice: another sample of the set is its paraphrase, or nearly the same",
    "harmful": "Harmful: what it does to the queries that are held out",
}


def suspects(connection: duckdb.DuckDBPyConnection, most: int = 10, estimator: str | None = None) -> pa.Table:
    """The most suspicious samples of the store's training sets, by arm and reason.

    Args:
        connection: Has the store's views.
        most: How many for each reason.
        estimator: Only by this one.

    Returns:
        Rows of (base, base_id, estimator, recipe, recipe_id, reason, sample, sample_id, value, logprob, dropped, how,
        why, text): ``value`` in nats as ``why`` says, ``dropped`` the nats that a held-out query gains on average
        without the sample, and ``how`` that is known: ``measured`` by a training without it, or ``predicted``; null
        without held-out queries.

    Raises:
        InputError: When the store has no arm within a training set, or none by that estimator.
    """
    found = rows(connection, "suspects", most=most)
    present = list(dict.fromkeys(row["estimator"] for row in found))
    if not present:
        fix = "run a spec with a `training_set` whose samples are queries too"
        raise InputError("suspects", "no sample of a training set in this store", "an arm within a training set", fix)
    if estimator is not None and estimator not in present:
        raise InputError("--estimator", repr(estimator), f"one of {', '.join(present)}")
    return pa.Table.from_pylist([row for row in found if estimator in (None, row["estimator"])])


def show_suspects(table: pa.Table) -> RenderableType:
    """What :func:`suspects` found, for a terminal."""
    arms: dict[tuple[str, str, str], dict[str, list[dict[str, Any]]]] = {}
    for row in table.to_pylist():
        arm = arms.setdefault((row["base"], row["estimator"], row["recipe"]), {})
        arm.setdefault(row["reason"], []).append(row)
    pieces: list[RenderableType] = []
    for names, reasons in arms.items():
        pieces += [Text(" · ".join(names), "bold"), Text("")]
        for reason, mine in reasons.items():
            pieces += [_listed(REASONS[reason], mine), Text("")]
    return Group(*pieces[:-1])


def _listed(title: str, mine: list[dict[str, Any]]) -> Table:
    table = Table(title=Text(title), title_justify="left", title_style="italic", box=None, pad_edge=False)
    table.add_column("nats", justify="right", no_wrap=True)
    table.add_column(f"dropped ({mine[0]['how']})", justify="right", no_wrap=True)
    table.add_column("sample")
    table.add_column("because it")
    for row in mine:
        dropped = Text("–") if row["dropped"] is None else Text(signed(row["dropped"]), style_of(row["dropped"]))
        named = row["text"] if row["text"].startswith(row["sample"]) else f"{row['sample']}: {row['text']}"
        table.add_row(Text(signed(row["value"])), dropped, Text(short(named, 60)), Text(short(row["why"], 70)))
    return table
