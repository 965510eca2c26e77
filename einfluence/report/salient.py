"""How much each word of a query speaks for its target, for a terminal."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from einfluence.report.terminal import signed, style_of


def show_salient(found: pa.Table) -> RenderableType:
    """What :func:`einfluence.salient.salient` found: words as they are read, or patches of a picture as a grid."""
    rows: list[dict[str, Any]] = found.to_pylist()
    title = Text("gradient times input, in nats: what speaks for the target, and what against it")
    table = Table(title=title, title_justify="left", title_style="italic", box=None, pad_edge=False)
    if rows and rows[0]["token"] is None:
        columns = 1 + max(row["patch_column"] for row in rows)
        for _ in range(columns):
            table.add_column(justify="right", no_wrap=True)
        for begin in range(0, len(rows), columns):
            table.add_row(*(_number(row["nats"]) for row in rows[begin : begin + columns]))
        table.show_header = False
        return table
    table.add_column("nats", justify="right", no_wrap=True)
    table.add_column("word")
    for row in rows:
        table.add_row(_number(row["nats"]), Text(row["token"]))
    return table


def _number(nats: float) -> Text:
    return Text(signed(nats), style_of(nats))
