"""`einfluence compare`: two stores, bases or recipes, paired by probe."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from einfluence.errors import InputError
from flows.commands.loudness import note
from flows.commands.options import DEFAULT_STORE, AsJson, Rows, StoreRoot, existing, form
from flows.commands.printing import print_rows

if TYPE_CHECKING:
    import pyarrow as pa

    from einfluence.store.store import Store


def compare(
    a: Annotated[str, typer.Argument(help="A store, or a base or recipe (label or id) in --store.")],
    b: Annotated[str, typer.Argument(help="The same; differences are B minus A.")],
    store: StoreRoot = DEFAULT_STORE,
    out: Annotated[Path | None, typer.Option(help="Write it as a page (.html), CSV or Parquet.")] = None,
    rows: Rows = "table",
    as_json: AsJson = False,
) -> None:
    """Compare two stores, bases or recipes: differences paired by probe, with 95% intervals."""
    from einfluence.metrics import compare as compared

    (store_a, chosen_a), (store_b, chosen_b) = _side(a, store), _side(b, store)
    with ExitStack() as opened:
        connection_a = opened.enter_context(store_a.connect())
        connection_b = connection_a if store_b.url == store_a.url else opened.enter_context(store_b.connect())
        table = compared(connection_a, connection_b, a=chosen_a, b=chosen_b)
        if out is not None and out.suffix == ".html":
            from einfluence.report import write_comparison

            write_comparison(connection_a, connection_b, out, names=(a, b), table=table)
    columns = ["estimator", "desideratum", "variant", "value_a", "value_b", "difference", "ci_low", "ci_high", "n",
               "verdict_a", "verdict_b"]  # fmt: skip
    output = form(rows, as_json)
    print_rows(table.select(columns) if output == "table" else table, output)
    if out is not None and out.suffix != ".html":
        _save(table, out)


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
    note(str(out))
