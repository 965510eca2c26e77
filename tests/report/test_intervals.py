"""What the report draws with an interval has the scorecard's: clusters are drawn, not probes."""

from __future__ import annotations

import duckdb
import numpy as np
import pytest

from einfluence.metrics import estimate, score
from einfluence.metrics.resample import Column, Resampling
from einfluence.report import sections
from einfluence.report.figure import interval
from einfluence.report.query import parts_of, prepared
from tests.report.tables import Tables, text_part


@pytest.fixture(scope="module")
def clustered() -> duckdb.DuckDBPyConnection:
    """Twelve facts of six entities, scored."""
    tables = Tables()
    text_part(tables, facts=12)
    entity = {name: f"entity {i // 2}" for i, name in enumerate(f"Mor{i}" for i in range(12))}
    for sample in tables.rows["samples"]:
        sample["cluster"] = entity[sample["cluster"]]
    tables.rows["desiderata"] = []
    connection = tables.connect()
    connection.register("_card", score(connection))
    connection.execute("insert into desiderata select * from _card")
    return connection


def test_the_slopes_have_the_values_and_intervals_of_the_scorecard(clustered: duckdb.DuckDBPyConnection) -> None:
    with prepared(clustered):
        part = parts_of(clustered)[0]
        figure = sections.slopes(clustered, part)
    assert figure is not None
    drawn = {(kind, arm): shown for kind, arm, _, shown, _ in figure.numbers}
    names = {arm.recipe: arm.short for arm in part.arms}
    card = clustered.execute(
        "select recipe, desideratum, ci_low, ci_high from desiderata where domain = 'all' and formula = 'score' "
        "and kind is null and level is null and desideratum in ('paraphrase', 'negation', 'transitivity')"
    ).fetchall()
    said = {"paraphrase": "paraphrase", "negation": "negation", "transitivity": "conclusion"}
    assert len(card) == 9
    for recipe, desideratum, low, high in card:
        assert drawn[said[desideratum], names[recipe]] == interval(low, high)


def test_the_distance_curve_draws_clusters(clustered: duckdb.DuckDBPyConnection) -> None:
    with prepared(clustered):
        part = parts_of(clustered)[0]
        figure = sections.distance(clustered, part)
    assert figure is not None
    arm = part.arms[0]
    size = """
        select samples.cluster, avg(abs(influence.influence)) as size
        from influence join relations using (probe_id, query_id) join probe_members using (probe_id)
        join samples using (sample_id)
        where recipe = $recipe and kind <> 'self'
            and least(9, floor(10 * (distance - lowest) / (highest - lowest))) = 9
        group by samples.cluster, probe_id order by probe_id
    """
    limits = "(select min(distance) as lowest, max(distance) as highest from relations where kind <> 'self')"
    rows = clustered.execute(size.replace("where recipe", f"cross join {limits} where recipe"), {"recipe": arm.recipe})
    clusters, values = zip(*rows.fetchall(), strict=True)
    numbers = np.unique(clusters, return_inverse=True)[1]
    nothing = np.full(len(values), np.nan)
    found = Resampling().estimate(Column(np.array(values), numbers, nothing, nothing), "mean")
    assert (found.low, found.high) == pytest.approx((estimate(np.array(values), numbers, "mean").low, found.high))
    last = [row for row in figure.numbers if row[0] == arm.short][-1]
    assert last[3] == interval(found.low, found.high, 3)


def test_figures_go_by_what_an_arms_own_parts_say_of_a_pair() -> None:
    tables = Tables()
    text_part(tables, facts=4)
    paraphrase = next(row for row in tables.rows["relations"] if row["kind"] == "paraphrase")
    pair = {name: paraphrase[name] for name in ("probe_id", "query_id")}
    arm = {name: tables.rows["influence"][0][name] for name in ("base", "recipe")}
    tables.rows["arm_relations"].append({**arm, **pair, "kind": "negation", "level": None, "distance": 0.75})
    connection = tables.connect()
    with prepared(connection):
        found = connection.execute(
            "select arms.recipe, cells.kind, cells.distance from report_cells as cells join report_arms as arms "
            "using (arm) join report_probes using (probe) join report_queries using (query) "
            "where probe_id = $probe_id and query_id = $query_id",
            pair,
        ).fetchall()
    own = [row for row in found if row[0] == arm["recipe"]]
    assert own == [(arm["recipe"], "negation", 0.75)]
    assert {row[1] for row in found if row[0] != arm["recipe"]} == {"paraphrase"}


def test_under_five_clusters_there_is_a_mark_without_an_interval() -> None:
    tables = Tables()
    text_part(tables, facts=4)
    connection = tables.connect()
    with prepared(connection):
        figure = sections.slopes(connection, parts_of(connection)[0])
    assert figure is not None
    assert {row[3] for row in figure.numbers} == {"too few probes for an interval"}
    found = estimate(np.arange(8.0), np.arange(8) % 4, "median")
    assert found.value == 3.5 and np.isnan([found.low, found.high]).all()


def test_the_intervals_are_those_of_clusters_not_of_probes() -> None:
    value = np.repeat([0.0, 1.0, 2.0, 3.0, 4.0, 5.0], 10)  # ten probes of each entity, all alike
    drawn = estimate(value, np.arange(60) // 10, "mean")
    alone = estimate(value, np.arange(60), "mean")
    assert drawn.value == alone.value == 2.5
    assert drawn.high - drawn.low > 2.5 * (alone.high - alone.low)  # √10 = 3.2 times, and Student's tails
