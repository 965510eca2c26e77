from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from einfluence.report import write_report
from einfluence.report.query import Part, Rows, parts_of, prepared
from einfluence.report.recipes import Grid, doses, few_arms, grids_of, recipes
from einfluence.report.scorecard import scorecard
from tests.report.tables import grid_store, small_store


@pytest.fixture(scope="module")
def grid() -> duckdb.DuckDBPyConnection:
    return grid_store()


@pytest.fixture
def read(grid: duckdb.DuckDBPyConnection) -> tuple[Part, Rows, list[Grid]]:
    with prepared(grid):
        part = parts_of(grid)[0]
        return part, scorecard(grid, part)["lines"], grids_of(grid, part)


def test_the_dose_of_a_recipe_is_the_median_influence_of_probes_on_themselves(
    grid: duckdb.DuckDBPyConnection, read: tuple[Part, Rows, list[Grid]]
) -> None:
    own = "influence join relations using (probe_id, query_id) join recipes using (recipe) where kind = 'self'"
    query = f"select label, median(influence) from {own} and influence.estimator = 'finetune' group by label"
    expected = dict(grid.execute(query).fetchall())
    assert {arm.label: dose for arm, dose in doses(read[1]).items()} == pytest.approx(expected)


def test_of_many_arms_the_charts_show_one_of_each_grid_that_taught_about_equally(
    read: tuple[Part, Rows, list[Grid]],
) -> None:
    part, lines, grids = read
    few = few_arms(part, doses(lines), grids)
    # Twice the learning rate at half the strength is the same dose.
    assert [arm.label for arm in few.arms] == [
        "LoRA r8, AdamW, lr 0.005 × 5",
        "full, SGD, lr 0.01 × 5",
        "in the prompt",
    ]
    assert few_arms(part, doses(lines), []).arms == part.arms  # nothing is known to be alike


def test_grids_are_compared_where_their_probes_learned_equally_well(
    grid: duckdb.DuckDBPyConnection, read: tuple[Part, Rows, list[Grid]]
) -> None:
    part, lines, grids = read
    made = recipes(lines, part, doses(lines), grids)
    assert made is not None
    assert [arm.short for arm in made.families] == ["LoRA r8, AdamW", "full, SGD"]
    assert {(made.nats,)} == set(grid.execute("select distinct nats from matched").fetchall())
    table = dict(made.table)
    # What a lesson moves grows with its strength alike for all queries, so their shares agree at one dose.
    values = [line["value"] for line in table["Paraphrase"] if line]
    assert len(values) == 2 and values == pytest.approx([4 / 6] * 2, abs=0.2)
    lines_of_all = "desideratum = 'paraphrase' and formula = 'score' and domain = 'all'"
    known = f"select value, ci_low, verdict from matched where {lines_of_all}"
    shown = [(line["value"], line["ci_low"], line["verdict"]) for line in table["Paraphrase"] if line]
    assert sorted(shown) == sorted(grid.execute(known).fetchall())
    labels = {label for _, label, *_ in made.figure.numbers}
    assert labels == {arm.label for arm in part.arms if arm.estimator == "finetune"}


def test_two_recipes_are_no_grid() -> None:
    connection = small_store()
    with prepared(connection):
        for part in parts_of(connection):
            lines = scorecard(connection, part)["lines"]
            assert recipes(lines, part, doses(lines), grids_of(connection, part)) is None


def test_a_page_of_many_arms_has_a_recipe_section(grid: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    html = write_report(grid, tmp_path / "grid.html", run={}).read_text(encoding="utf-8")
    assert 'id="recipe"' in html and "Learned equally well" in html and "one recipe of each kind" in html
