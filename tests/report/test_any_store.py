"""Whatever a store holds, and whatever is missing from it, there is a report, a scorecard and an answer."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import vl_convert
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from einfluence.errors import InputError
from einfluence.metrics import check, compare, scored
from einfluence.report import figures, show_probe, show_scorecard, write_comparison, write_report
from einfluence.report.explore.view import read
from einfluence.store.schema import TABLES
from tests.report.tables import Tables, image_part, text_part

KEYS = {"base", "estimator", "recipe", "probe_id", "query_id", "sample_id", "position", "seed", "engine_version",
        "parameter", "place", "status", "measure", "desideratum", "domain"}  # fmt: skip
ODD = (
    "",
    " ",
    "a\x00b",
    "\x1b[31mred\x07",
    "\u202eback",
    "</script>",
    "{braces} %s ${x}",
    "1",
    "all",
    "[bold]x",
    "ß" * 300,
)
FLOATS = (float("nan"), float("inf"), float("-inf"), 0.0, -1e30, 1e30)


def made(parts: str) -> Tables:
    tables = Tables()
    if "t" in parts:
        text_part(tables, facts=6)
    if "i" in parts:
        image_part(tables, clean=3, extra=2)
    for sample in tables.rows["samples"]:
        sample["domain"] = "all alike"
    return tables


def tables_with(columns: Callable[[pa.Field[Any]], bool]) -> list[tuple[str, str]]:
    """Tables and columns that are no key."""
    return [
        (table, field.name)
        for table, schema in TABLES.items()
        for field in schema
        if columns(field) and not (field.name in KEYS and (table, field.name) != ("samples", "domain"))
    ]


NULLABLE = tables_with(lambda field: True)
FLOATING = tables_with(lambda field: pa.types.is_floating(field.type))
TEXTS = [(table, name) for table, name in tables_with(lambda field: field.type == pa.string()) if name != "json"]


def filled(tables: Tables, table: str, column: str, value: Any, share: float, seed: int) -> None:
    """Puts a value into a share of a column's rows."""
    rng = np.random.default_rng(seed)
    for row in tables.rows[table]:
        if rng.random() < share:
            row[column] = value


def thinned(tables: Tables, table: str, share: float, seed: int) -> None:
    """Takes a share of a table's rows away."""
    rng = np.random.default_rng(seed)
    tables.rows[table] = [row for row in tables.rows[table] if rng.random() >= share]


def failed(tables: Tables, arms: set[int], reason: str | None, share: float, seed: int) -> None:
    """Lets a share of the probes of some arms fail: no cell, no update, and an outcome that says why."""
    rng = np.random.default_rng(seed)
    recipes = sorted({(row["base"], row["recipe"]) for row in tables.rows["influence"]})
    probes = sorted({row["probe_id"] for row in tables.rows["probes"]})
    chosen = {
        (*recipe, probe)
        for place, recipe in enumerate(recipes)
        for probe in probes
        if place in arms and rng.random() < share
    }
    own = {key: next(r for r in tables.rows["influence"] if (r["base"], r["recipe"]) == key) for key in recipes}
    measured = {(row["base"], row["recipe"], row["probe_id"]) for row in tables.rows["influence"]}
    for table in ("influence", "layer_updates", "restorations", "outcomes"):
        tables.rows[table] = [
            row for row in tables.rows[table] if (row["base"], row["recipe"], row["probe_id"]) not in chosen
        ]
    for base, recipe, probe in sorted(chosen & measured):
        row = dict.fromkeys(TABLES["outcomes"].names)
        about = {"base": base, "recipe": recipe, "probe_id": probe, "status": "failed", "reason": reason, "seed": 0}
        estimator = own[base, recipe]["estimator"]
        tables.rows["outcomes"].append({**row, **about, "estimator": estimator, "engine_version": "1"})


def seeded(tables: Tables) -> None:
    """A second training seed for half of the cells."""
    tables.rows["influence"] += [{**row, "seed": 1} for row in tables.rows["influence"][::2]]


def only(tables: Tables, estimator: str) -> None:
    """One estimator alone."""
    for table, schema in TABLES.items():
        if "estimator" in schema.names and table != "recipes":
            tables.rows[table] = [row for row in tables.rows[table] if row["estimator"] == estimator]


def one_probe(tables: Tables) -> None:
    """One probe, one query."""
    first = tables.rows["influence"][0]
    for table, schema in TABLES.items():
        for key in ("probe_id", "query_id"):
            if key in schema.names:
                tables.rows[table] = [row for row in tables.rows[table] if row[key] == first[key]]


def restored(tables: Tables) -> None:
    """Restorations alone: cells of the queries that layers were undone for, and no relation."""
    cells = tables.rows["influence"][:40]
    for cell in cells:
        for place in ("layer 0", "layer 10", "outside the layers"):
            row = {name: cell[name] for name in TABLES["restorations"].names if name in cell}
            tables.rows["restorations"].append({**row, "place": place, "logprob_restored": cell["logprob_before"]})


def connected(tables: Tables) -> duckdb.DuckDBPyConnection:
    """The store's views, with the scorecard and the matched doses that its own numbers give."""
    connection = tables.connect()
    for name, found in scored(connection, draws=20).items():
        for column in {"value", "ci_low", "ci_high", "null_value", "p_value"} & set(found.column_names):
            assert all(value is None or np.isfinite(value) for value in found[column].to_pylist()), (name, column)
        connection.register("_scored", found)
        connection.execute(f"create or replace table {name} as select * from _scored")
        connection.unregister("_scored")
    return connection


def text_of(thing: object) -> str:
    console = Console(width=200, file=io.StringIO(), force_terminal=False)
    console.print(thing)
    return console.file.getvalue()  # type: ignore[attr-defined]


def answers_of(connection: duckdb.DuckDBPyConnection, folder: Path, *, more: int | None = None) -> tuple[str, str]:
    """Asks a store for all that there is to ask, or for one thing ``more`` beside the report and the scorecard.

    Returns:
        The report, and the scorecard as the terminal prints it.
    """
    page = write_report(connection, folder / "report.html", run={"study": "a study", "failed": 1}).read_text("utf-8")
    json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1], parse_constant=_refused)  # type: ignore[index]
    questions = (_drawn, _shown, _compared, _checked)
    for question in questions if more is None else (questions[more % len(questions)],):
        question(connection, folder)
    return page, text_of(show_scorecard(connection))


def _drawn(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    figures(connection, folder, look="auto")
    read(connection)


def _shown(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    for name in [row[0] for row in connection.execute("select probe_id from probes limit 3").fetchall()]:
        text_of(show_probe(connection, name))


def _compared(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    try:
        table = compare(connection, connection, draws=20)
        write_comparison(connection, connection, folder / "compare.html", names=("a", "b"), table=table)
    except InputError as error:
        assert "share probes" in str(error)


def _checked(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    card = connection.table("desiderata").to_arrow_table()
    for requirement in ("gate>=0.1", "negation>=baseline-0.1", "noise_quality>=0"):
        try:
            check(card, [requirement], card)
        except InputError as error:
            assert "no such row" in str(error) or "arms of the baseline" in str(error)


def _refused(constant: str) -> float:
    raise AssertionError(f"{constant} is no JSON")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("any-store")


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Charts are written but not drawn, which takes nine tenths of the time."""

    def drawn(chart: str, **_: object) -> str:
        json.loads(chart, parse_constant=_refused)
        return "<svg ></svg>"

    monkeypatch.setattr(vl_convert, "vegalite_to_svg", drawn)
    yield


shares = st.sampled_from((0.1, 0.5, 1.0))
seeds = st.integers(0, 99)
parts = st.sampled_from(("t", "i", "ti"))
damages = st.one_of(
    st.tuples(st.just(filled), st.sampled_from(NULLABLE), st.none(), shares, seeds),
    st.tuples(st.just(filled), st.sampled_from(FLOATING), st.sampled_from(FLOATS), shares, seeds),
    st.tuples(st.just(filled), st.sampled_from(TEXTS), st.sampled_from(ODD), shares, seeds),
    st.tuples(st.just(thinned), st.sampled_from(sorted(set(TABLES) - {"desiderata"})), shares, seeds),
    st.tuples(st.just(failed), st.sets(st.integers(0, 4)), st.sampled_from((*ODD, None)), shares, seeds),
    st.tuples(st.just(seeded)),
    st.tuples(st.just(restored)),
    st.tuples(st.just(only), st.sampled_from(("finetune", "in_context"))),
)


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(parts, st.lists(damages, max_size=6), st.integers(0, 3))
@pytest.mark.usefixtures("undrawn")
def test_every_store_has_a_report(folder: Path, parts: str, damage: list[tuple[Any, ...]], more: int) -> None:
    tables = made(parts)
    for act, *about in damage:
        act(tables, *(about if act is not filled else [*about[0], *about[1:]]))
    answers_of(connected(tables), folder, more=more)


REASON = "the loss is nan at step 3, <b>\x1b[31m"
KINDS: dict[str, Callable[[Tables], None]] = {
    "all of one arm's probes failed": lambda tables: failed(tables, {1}, REASON, 1.0, 0),
    "all failed": lambda tables: failed(tables, set(range(9)), REASON, 1.0, 0),
    "a few failed, each for a reason of its own": lambda tables: failed(tables, {0, 1}, REASON, 0.5, 0),
    "weights that were zero": lambda tables: filled(tables, "layer_updates", "relative_update", None, 1.0, 0),
    "one probe and one query": one_probe,
    "no relations": lambda tables: thinned(tables, "relations", 1.0, 0),
    "prompts alone": lambda tables: only(tables, "in_context"),
    "several seeds": seeded,
    "a name that is no name": lambda tables: filled(tables, "samples", "domain", "\x00{}%</script>", 0.5, 0),
    "restorations without relations": lambda tables: (restored(tables), thinned(tables, "relations", 1.0, 0)) and None,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("undrawn")
def test_a_store_of_a_kind_that_is_easily_forgotten_has_a_report(folder: Path, kind: str) -> None:
    tables = made("t" if kind == "prompts alone" else "ti")
    KINDS[kind](tables)
    page, terminal = answers_of(connected(tables), folder)
    if any(row["reason"] == REASON for row in tables.rows["outcomes"]):
        assert "the loss is nan at step 3, &lt;b&gt;␛[31m" in page[page.index('id="provenance"') :]
        assert "the loss is nan at step 3, <b>␛[31m" in terminal
    assert not set("\x00\x1b\x07") & set(page + terminal)


def test_an_arm_that_failed_wholly_stands_beside_the_one_that_worked(folder: Path) -> None:
    tables = made("t")
    failed(tables, {1}, REASON, 1.0, 0)
    connection = connected(tables)
    page = write_report(connection, folder / "drawn.html", run={}).read_text("utf-8")
    count = sum(row["status"] == "failed" for row in tables.rows["outcomes"])
    assert count >= 6 and f"{count} lessons failed; Provenance has the reasons." in page
    row = connection.execute(
        "select value, note from desiderata where desideratum = 'checks' and variant = 'failed probes' order by value"
    ).fetchall()[-1]
    assert row == (6.0, f"e.g. {REASON}")


def test_a_scorecard_of_an_earlier_version_is_shown_without_verdicts(folder: Path) -> None:
    tables = made("ti")
    connection = connected(tables)
    old = ("formula", "kind", "level", "place", "layer", "about", "partner", "start", "better", "bar", "verdict")
    connection.execute(f"update desiderata set {', '.join(f'{name} = null' for name in old)}")
    page, terminal = answers_of(connection, folder)
    assert "not judged" in page and "✓" not in terminal[: terminal.index("✓ met")]
