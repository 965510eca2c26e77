"""Commands that ask a store that is there already: show, compare, check, figures, explore."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from einfluence.errors import InputError
from einfluence.visible import visible

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.console import Console

    from einfluence.store.store import Store

StoreRoot = Annotated[str, typer.Option("--store", help="Folder or URL of the store.")]
DEFAULT_STORE = "einfluence-store"
SHORT = 3  # exit code of a requirement that is not met


def existing(store: str) -> Store:
    """Opens a store that holds something.

    Raises:
        InputError: When there is none.
    """
    from einfluence.store.store import Store

    opened = Store(store)
    if not opened.exists:
        raise InputError("--store", f"{store!r}, which holds no store", "one that `einfluence run` has written to")
    return opened


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


def show(
    probe: Annotated[str | None, typer.Argument(help="A probe's name or id: what it helped and hurt most.")] = None,
    store: StoreRoot = DEFAULT_STORE,
) -> None:
    """Print the scorecard, or one probe."""
    from einfluence.report.terminal import show_probe, show_scorecard

    with existing(store).connect() as connection:
        terminal().print(show_probe(connection, probe) if probe else show_scorecard(connection))


def compare(
    a: Annotated[str, typer.Argument(help="A store, or a base or recipe (label or id) in --store.")],
    b: Annotated[str, typer.Argument(help="The same; differences are B minus A.")],
    store: StoreRoot = DEFAULT_STORE,
    out: Annotated[Path | None, typer.Option(help="Write it as a page (.html), CSV or Parquet.")] = None,
) -> None:
    """Compare two stores, bases or recipes: differences paired by probe, with 95% intervals."""
    from einfluence.metrics import compare as compared

    (store_a, chosen_a), (store_b, chosen_b) = _side(a, store), _side(b, store)
    with store_a.connect() as connection_a, store_b.connect() as connection_b:
        table = compared(connection_a, connection_b, a=chosen_a, b=chosen_b)
        if out is not None and out.suffix == ".html":
            from einfluence.report import write_comparison

            write_comparison(connection_a, connection_b, out, names=(a, b), table=table)
    columns = ["estimator", "desideratum", "variant", "value_a", "value_b", "difference", "ci_low", "ci_high", "n",
               "verdict_a", "verdict_b"]  # fmt: skip
    print_table(table.select(columns))
    if out is not None and out.suffix != ".html":
        _save(table, out)


def check(
    require: Annotated[
        list[str], typer.Option(help='E.g. "negation=met", "negation>=0.2" or "paraphrase>=baseline-0.05"; repeatable.')
    ],
    store: StoreRoot = DEFAULT_STORE,
    baseline: Annotated[str | None, typer.Option(help="The store that `baseline` means.")] = None,
) -> None:
    """Hold the scorecard against requirements, by the whole interval; exit code 3 unless all are met."""
    from einfluence.metrics import check as checked

    known = _scorecard(baseline) if baseline else None
    verdicts = checked(_scorecard(store), require, known)
    print_table(verdicts.select(["requirement", "verdict", "estimator", "value", "ci_low", "ci_high", "bound", "note"]))
    if any(verdict != "met" for verdict in verdicts["verdict"].to_pylist()):
        raise typer.Exit(SHORT)


def figures(
    folder: Annotated[Path, typer.Argument(help="Where the files go.")] = Path("figures"),
    store: StoreRoot = DEFAULT_STORE,
    output: Annotated[Literal["svg", "pdf", "png"], typer.Option("--format")] = "svg",
    look: Annotated[
        Literal["light", "dark", "auto"], typer.Option(help="auto: an SVG that follows the reader.")
    ] = "light",
) -> None:
    """Write the report's figures as files, for papers."""
    from einfluence.report import figures as draw

    with existing(store).connect() as connection:
        for path in draw(connection, folder, output, look):
            typer.echo(path)


def explore(
    store: StoreRoot = DEFAULT_STORE,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Where to listen on this machine; a free one by default.")
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open the browser.")] = True,
) -> None:
    """Serve a local page over the store: charts, a read-only SQL box, downloads. Prints its address."""
    from einfluence.report.explore import explore as serve

    def say(address: str) -> None:
        typer.echo(f"exploring {store} at {address}")
        sys.stdout.flush()

    raise typer.Exit(serve(existing(store).root, say, port=port, browser=browser))


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


def _scorecard(store: str) -> pa.Table:
    with existing(store).connect() as connection:
        return connection.table("desiderata").to_arrow_table()


def _side(text: str, store: str) -> tuple[Store, dict[str, str]]:
    """A side of a comparison: a store of its own, or a base or recipe of ``store``."""
    if "://" in text or Path(text).expanduser().is_dir():
        return existing(text), {}
    opened = existing(store)
    with opened.connect() as connection:
        for table, key in (("bases", "base"), ("recipes", "recipe")):
            rows = connection.table(table).project(f"{key}, label").fetchall()
            found = sorted({name for name, label in rows if label == text or name.startswith(text)})
            if len(found) == 1:
                return opened, {key: found[0]}
        labels = connection.execute("select label from bases union select label from recipes order by all").fetchall()
    known = ", ".join(repr(label) for (label,) in labels)
    raise InputError(
        f"compare {text!r}", "neither a store nor one base or recipe", f"a store's folder, an id, or one of {known}"
    )


def _save(table: pa.Table, out: Path) -> None:
    import pyarrow.csv
    import pyarrow.parquet

    writers: dict[str, Any] = {".csv": pyarrow.csv.write_csv, ".parquet": pyarrow.parquet.write_table}
    if out.suffix not in writers:
        raise InputError("--out", f"{out.name!r}", "a name that ends in .html, .csv or .parquet")
    writers[out.suffix](table, out)
    typer.echo(out, err=True)


def _cell(value: object) -> str:
    text = "" if value is None else f"{value:.4g}" if isinstance(value, float) else visible(str(value))
    return text if len(text) <= 60 else text[:59] + "…"
