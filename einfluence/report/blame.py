"""Which samples made a model say this: the probes that raised or lowered one query most, arm by arm."""

from __future__ import annotations

from typing import Any

import duckdb
import pyarrow as pa
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from einfluence.arms import within
from einfluence.errors import InputError
from einfluence.report.figure import short
from einfluence.report.query import rows, the_one
from einfluence.report.terminal import in_words, signed, style_of, times


def query_called(connection: duckdb.DuckDBPyConnection, name: str) -> dict[str, Any]:
    """The sample that is a query of that name or id, or the start of its id.

    Raises:
        InputError: When there is none, or several.
    """
    found = rows(connection, "find_sample", name=name)
    query = the_one(found, name, "sample_id")
    if query is None:
        near = ", ".join(f"{row['name']!r} ({row['sample_id']})" for row in found[:5]) or "no query"
        fix = '`einfluence sql "select name, sample_id from samples"` lists them'
        raise InputError(f"query {name!r}", near, "the name or id of one query", fix)
    return query


def blamed(
    connection: duckdb.DuckDBPyConnection, query_id: str, most: int = 10, estimator: str | None = None
) -> pa.Table:
    """The probes that raised a query most and those that lowered it most.

    Args:
        connection: Has the store's views.
        query_id: The query.
        most: How many on either side.
        estimator: Only by this one; by default those that compare trainings of a set, or where there is none, all.

    Returns:
        Rows of (base, estimator, recipe, probe, probe_id, influence, lowest, highest, seeds, text, base_id, recipe_id),
        in nats; of several seeds their mean and range.

    Raises:
        InputError: When the store has nothing by that estimator.
    """
    found = rows(connection, "blame", query_id=query_id, most=most)
    present = dict.fromkeys(row["estimator"] for row in found)
    if estimator is not None and estimator not in present:
        raise InputError("--estimator", repr(estimator), f"one of {', '.join(present) or 'none: nothing is measured'}")
    wanted = [estimator] if estimator else within(present) or list(present)
    return pa.Table.from_pylist([row for row in found if row["estimator"] in wanted])


def show_blamed(query: dict[str, Any], table: pa.Table) -> RenderableType:
    """What :func:`blamed` found, for a terminal."""
    query_text = short(in_words(query).strip(), 100)
    pieces: list[RenderableType] = [Text.assemble((query_text, "bold"), f"  {query['sample_id']}")]
    arms: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        arms.setdefault((row["base"], row["estimator"], row["recipe"]), []).append(row)
    for (base, estimator, recipe), mine in arms.items():
        pieces += [Text(""), _arm(f"{base} · {estimator} · {recipe}", mine)]
    return Group(*pieces)


def _arm(title: str, mine: list[dict[str, Any]]) -> Table:
    several = max(row["seeds"] for row in mine) > 1
    table = Table(title=Text(title), title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in ("nats", *(("over seeds",) if several else ()), "as likely"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("because of")
    for row in mine:
        value = row["influence"]
        spread = [Text(f"{signed(row['lowest'])} … {signed(row['highest'])}")] if several else []
        table.add_row(Text(signed(value), style_of(value)), *spread, Text(times(value)), Text(short(row["text"], 80)))
    return table
