"""Estimates in the report: the leaderboard, what they miss, the worst cells, and scores without a unit."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pytest
from rich.console import Console

from einfluence.metrics import scored
from einfluence.report import write_report
from einfluence.report.blame import blamed
from einfluence.report.leaderboard import leaderboard, show_leaderboard
from einfluence.report.query import parts_uncounted
from einfluence.report.terminal import show_probe, show_scorecard
from tests.report.tables import Tables, text_part

SHARES = {"good": 0.1, "poor": 0.9}
PARAMETERS = {"good": 0.0441, "poor": 1.0}


@pytest.fixture(scope="module")
def store() -> duckdb.DuckDBPyConnection:
    """Facts taught by two recipes; three estimates of the first: good, poor, and a tool's scores without a unit.

    Good and poor are the measured influence mixed with other numbers; good is blind to negation: it takes it for as
    helped as it is hurt.
    """
    tables = Tables()
    text_part(tables, facts=12)
    connection = tables.connect()
    truth = connection.execute("select recipe from recipes where label like '%AdamW%'").fetchone()[0]  # type: ignore[index]
    for name, share in {**SHARES, "tool": 0.5}.items():
        connection.execute(
            "insert into recipes by name select $1 as recipe, $1 as estimator, 'all' as label, '{}' as json, "
            "$2 as stands_for, $3 as unit",
            [name, truth, "none" if name == "tool" else None],
        )
        connection.execute(
            """insert into influence by name
            select base, $1 as estimator, $1 as recipe, probe_id, query_id, seed, engine_version,
                case when $1 = 'good' and kind = 'negation' then -3.0
                    when $1 = 'tool' then 1e4 + 1e3 * influence
                    else influence * (1 - $3) + $3 * (hash(probe_id || query_id) / 9.3e18 - 1) end as influence
            from influence join relations using (probe_id, query_id) where recipe = $2""",
            [name, truth, share],
        )
        connection.execute(
            "insert into outcomes by name select base, $1 as estimator, $1 as recipe, probe_id, seed, "
            "'done' as status, 0.25 as seconds, 2000000 as memory, $3 as parameter_share "
            "from outcomes where recipe = $2 and $1 <> 'tool'",
            [name, truth, PARAMETERS.get(name)],
        )
    connection.execute(
        "insert into states by name select base, 'poor' as recipe, 1.5 as seconds, 3000000 as memory, 9 as bytes "
        "from influence where recipe = 'poor' limit 1"
    )
    for name, table in scored(connection, draws=100).items():
        connection.execute(f"delete from {name}")
        connection.from_arrow(table).insert_into(name)
    return connection


def test_estimates_are_ranked_and_what_they_miss_is_named(store: duckdb.DuckDBPyConnection) -> None:
    found = {row["estimator"]: row for row in leaderboard(store)}
    assert list(found) == ["tool", "good", "poor"]
    assert found["tool"]["spearman"] == pytest.approx(1.0) and found["tool"]["slope"] is None
    assert found["good"]["spearman"] > 0.6 > found["poor"]["spearman"]
    assert {row["intervention_label"] for row in found.values()} == {"LoRA r8, AdamW, lr 0.003 × 10"}
    assert found["good"]["line"][-1] == "negation (too low, 0% in order)"
    assert found["tool"]["line"][-5:] == ("–", "–", "–", "–", "nothing")
    assert found["good"]["seconds"] == pytest.approx(12 * 0.25)


def test_the_leaderboard_says_what_an_estimate_cost(store: duckdb.DuckDBPyConnection) -> None:
    found = {row["estimator"]: row["line"][8:11] for row in leaderboard(store)}
    assert found == {"good": ("3", "2 MB", "4.4%"), "poor": ("3 + 1.5", "3 MB", "100%"), "tool": ("–", "–", "–")}
    assert {row["state_bytes"] for row in leaderboard(store)} == {None, 9}


def test_the_terminal_has_a_table_for_each_intervention(store: duckdb.DuckDBPyConnection) -> None:
    console = Console(width=200, record=True)
    console.print(show_leaderboard(store))
    text = console.export_text()
    assert text.count("finetune, LoRA r8, AdamW") == 1 and "negation (too low, 0% in order)" in text
    console.print(show_leaderboard(Tables().connect()))
    assert "No estimate is held against a training here" in console.export_text()


def test_the_page_shows_estimates_beside_what_they_stand_for_and_names_the_worst_cells(
    store: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    html = write_report(store, tmp_path / "report.html", run={}).read_text(encoding="utf-8")
    section = html[html.index('<section id="estimates"') :]
    section = section[: section.index("</section>")]
    assert 'href="#estimates"' in html
    assert re.findall(r'<tr><th scope="row">([^<]+)</th>', section) == ["tool", "good", "poor"]
    assert "negation (too low, 0% in order)" in section
    worst = section[section.index('data-figure="estimates-text"') :]
    assert len(re.findall(r"<tr><td>good for ", worst)) == 5
    assert all("<td>negation</td>" in row for row in re.findall(r"<tr><td>good for .*?</tr>", worst))
    arms = set(re.findall(r'class="key shape-[^>]+></span>([^<]+)<', html))
    of_it = {f"{name} for fine-tuned, AdamW" for name in SHARES}
    assert arms == of_it | {"fine-tuned, AdamW", "fine-tuned, SGD", "in the prompt"}  # scores without a unit are no arm


def test_fidelity_is_drawn_by_share_of_the_parameters_where_an_estimator_was_tried_on_several(
    store: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    assert 'data-figure="parameters-text"' not in write_report(store, tmp_path / "one.html", run={}).read_text("utf-8")
    store.execute("begin")
    store.execute("update desiderata set estimator = 'good' where recipe = 'poor'")
    html = write_report(store, tmp_path / "two.html", run={}).read_text("utf-8")
    store.execute("rollback")
    figure = html[html.index('data-figure="parameters-text"') :]
    assert "4.4%, good" in figure[:4000] and "100%, good" in figure[:4000]


def test_scores_without_a_unit_are_shown_as_nats_by_no_command(store: duckdb.DuckDBPyConnection) -> None:
    cells = store.execute("select probe_id, query_id from influence where estimator = 'tool' order by all").fetchall()
    probe, query = cells[0]
    assert {row["estimator"] for row in blamed(store, query).to_pylist()} == {"finetune", "in_context", "good", "poor"}
    console = Console(width=200, record=True)
    console.print(show_probe(store, probe), show_scorecard(store))
    text = console.export_text()
    assert "tool" not in text and "good" in text
    assert "Says what training does" in text


def test_a_store_without_estimates_has_no_such_section(tmp_path: Path) -> None:
    tables = Tables()
    text_part(tables, facts=6)
    html = write_report(tables.connect(), tmp_path / "report.html", run={}).read_text(encoding="utf-8")
    assert 'id="estimates"' not in html and 'href="#estimates"' not in html


def test_what_was_measured_comes_before_what_was_estimated(store: duckdb.DuckDBPyConnection) -> None:
    [part] = parts_uncounted(store)
    names = [arm.estimator for arm in part.arms]
    assert names == ["finetune", "finetune", "in_context", "good", "poor"]
    assert [arm.stands_for for arm in part.arms] == [None, None, None, *["finetune"] * 2]
