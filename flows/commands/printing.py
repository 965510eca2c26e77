"""What commands print: tables for people, and rows for other programs."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer

from einfluence.errors import InputError
from einfluence.visible import visible

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.console import Console


def terminal() -> Console:
    """Where tables are printed: as wide as the terminal, and 120 characters in a file or pipe.

    Control characters of samples, names and messages come out as escapes, whoever printed them.
    """
    from rich.console import Console
    from rich.segment import Segment

    class Terminal(Console):
        def render(self, *what: Any, **more: Any) -> Iterator[Segment]:
            for segment in super().render(*what, **more):
                yield segment if segment.control else Segment(visible(segment.text), segment.style)

    return Terminal(width=None if sys.stdout.isatty() else 120)


def duration(seconds: float) -> str:
    """A length of time for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def print_table(table: pa.Table, most: int = 200) -> None:
    """Prints the first rows of a table; texts are never read as markup."""
    from rich.table import Table
    from rich.text import Text

    shown = Table(caption=f"{table.num_rows:,} rows")
    for name in table.column_names:
        shown.add_column(Text(visible(name)))
    for row in table.slice(0, most).to_pylist():
        shown.add_row(*(Text(_cell(value)) for value in row.values()))
    console = terminal()
    console.width = max(console.width, 160) if not sys.stdout.isatty() else console.width
    console.print(shown)


def print_rows(table: Any, output: str) -> None:
    """Prints all of a table; on a terminal no character that it would obey, in files and pipes every byte."""
    if output == "table":
        print_table(table)
    elif output == "json":
        rows = table.to_pylist()
        text = json.dumps(rows, default=str, ensure_ascii=False)
        if text != visible(text):  # JSON's own escapes, which read as the same
            text = json.dumps(rows, default=str).replace("\x7f", "\\u007f")
        typer.echo(text)
    elif output == "csv":
        import pyarrow.csv

        written = io.BytesIO()
        pyarrow.csv.write_csv(table, written)
        if sys.stdout.isatty():
            typer.echo(visible(written.getvalue().decode()), nl=False)
        else:
            sys.stdout.buffer.write(written.getvalue())
            sys.stdout.buffer.flush()
    else:
        import pyarrow.parquet

        if sys.stdout.isatty():
            raise InputError("--format parquet", "a terminal", "a file or a pipe, e.g. `> rows.parquet`")
        pyarrow.parquet.write_table(table, sys.stdout.buffer)


def _cell(value: object) -> str:
    text = "" if value is None else f"{value:.4g}" if isinstance(value, float) else visible(str(value))
    return text if len(text) <= 60 else text[:59] + "…"
