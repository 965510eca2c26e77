from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from einfluence.report import write_report
from einfluence.report.query import Part, Rows, parts_of, prepared
from einfluence.report.recipes import doses, few_arms, recipes
from einfluence.report.scorecard import scorecard
from einfluence.report.sections import pairs
from tests.report.tables import grid_store, small_store


@pytest.fixture(scope="module")
def grid() -> duckdb.DuckDBPyConnection:
    return grid_store()


@pytest.fixture
def read(grid: duckdb.DuckDBPyConnection) -> tuple[Part, Rows, Rows]:
    with prepared(grid):
        part = parts_of(grid)[0]
        return part, pairs(grid), scorecard(grid, part)["lines"]


def test_the_dose_of_a_recipe_is_its_mean_influence_of_probes_on_themselves(
    grid: duckdb.DuckDBPyConnection, read: tuple[Part, Rows, Rows]
) -> None:
    part, found, _ = read
    own = "influence join relations using (probe_id, query_id) join recipes using (recipe) where kind = 'self'"
    query = f"select label, avg(influence) from {own} and influence.estimator = 'finetune' group by label"
    expected = dict(grid.execute(query).fetchall())
    assert {arm.label: dose for arm, dose in doses(found, part).items()} == pytest.approx(expected)


def test_of_many_arms_the_charts_show_one_of_each_family_that_taught_about_equally(
    read: tuple[Part, Rows, Rows],
) -> None:
    part, found, _ = read
    few = few_arms(part, doses(found, part))
    # Twice the learning rate at half the strength is the same dose.
    assert [arm.label for arm in few.arms] == [
        "LoRA r8, AdamW, lr 0.005 × 5",
        "full, SGD, lr 0.01 × 5",
        "in the prompt",
    ]


def test_families_are_compared_where_their_probes_learned_equally_well(
    grid: duckdb.DuckDBPyConnection, read: tuple[Part, Rows, Rows]
) -> None:
    part, found, lines = read
    made = recipes(grid, lines, part, doses(found, part))
    assert made is not None
    assert [arm.short for arm in made.families] == ["LoRA r8, AdamW", "full, SGD"]
    table = dict(made.table)
    # What a lesson moves grows with its strength alike for all queries, so their shares agree at one dose.
    values = [line["value"] for line in table["Paraphrase"] if line]
    assert len(values) == 2 and values == pytest.approx([4 / 6] * 2, abs=0.2)
    labels = {label for _, label, *_ in made.figure.numbers}
    assert labels == {arm.label for arm in part.arms if arm.estimator == "finetune"}


def test_two_recipes_are_no_grid() -> None:
    connection = small_store()
    with prepared(connection):
        for part in parts_of(connection):
            assert recipes(connection, [], part, doses(pairs(connection), part)) is None


def test_a_page_of_many_arms_has_a_recipe_section(grid: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    html = write_report(grid, tmp_path / "grid.html", run={}).read_text(encoding="utf-8")
    assert 'id="recipe"' in html and "Learned equally well" in html and "one recipe of each kind" in html
