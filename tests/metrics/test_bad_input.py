from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

from einfluence.errors import InputError
from einfluence.metrics import score
from tests.metrics.conftest import cell_row


def rows_of(connection: duckdb.DuckDBPyConnection, desideratum: str, **options: Any) -> dict[str, dict[str, Any]]:
    rows = score(connection, draws=100, **options).to_pylist()
    return {row["variant"]: row for row in rows if row["desideratum"] == desideratum and row["domain"] == "all"}


CELLS = {(name, name): 1.0 + i for i, name in enumerate("abcdefgh")}


def test_too_few_probes_give_a_note_and_no_number(store) -> None:
    row = rows_of(store({(name, name): 1.0 for name in "abcd"}), "gate")["learned"]
    assert (row["value"], row["ci_low"], row["n"], row["note"]) == (None, None, 4, "not enough probes (n=4)")


def test_many_probes_of_few_entities_are_not_enough(store) -> None:
    samples = {name: {"cluster": "one"} for name in CELLS for name in name[0]}
    row = rows_of(store(CELLS, samples=samples), "gate")["learned"]
    assert (row["value"], row["note"]) == (None, "not enough probes (n=8 in 1 clusters)")


def test_a_kind_of_relation_that_is_missing_is_named(store) -> None:
    assert rows_of(store(CELLS), "negation")["contrast"]["note"] == "no negation pairs"
    assert rows_of(store(CELLS, modality="image"), "negation") == {}


def test_the_gate_excludes_and_counts(store) -> None:
    cells = {**CELLS, ("h", "h"): -1.0}
    cells |= {(name, "u"): 0.5 for name in CELLS for name in name[0]}
    kinds: dict[tuple[str, str], str | None] = {(name, "u"): "unrelated" for name in "abcdefgh"}
    row = rows_of(store(cells, kinds=kinds), "leakage")["score"]
    assert (row["n"], row["excluded"], row["note"]) == (7, 1, "1 not learned")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_influence_that_is_no_number_is_left_out_and_counted(store, value: float | None) -> None:
    connection = store(CELLS, extra_rows=[{**cell_row("a", "b", 0.0), "influence": value}])
    check = rows_of(connection, "checks")["non-finite cells"]
    assert (check["value"], check["n"], check["ci_low"]) == (1.0, 1, None)


def test_equal_copies_of_a_cell_count_once_and_are_told(store) -> None:
    connection = store(CELLS, extra_rows=[cell_row("a", "a", 1.0)])
    assert rows_of(connection, "checks")["duplicated cells"]["n"] == 1
    assert rows_of(connection, "gate")["nats"]["value"] == rows_of(store(CELLS), "gate")["nats"]["value"]


def test_copies_that_disagree_are_left_out_rather_than_averaged(store) -> None:
    connection = store(CELLS, extra_rows=[cell_row("a", "a", 100.0)])
    check, gate = rows_of(connection, "checks")["duplicated cells"], rows_of(connection, "gate")["learned"]
    assert (check["note"], gate["n"]) == ("copies that agree count once; 1 disagree and are left out", 7)


def test_cells_of_unknown_samples_and_missing_cells_are_told(store) -> None:
    connection = store(CELLS, extra_rows=[cell_row("a", "nobody", 1.0)])
    assert rows_of(connection, "checks")["cells of unknown samples"]["n"] == 1
    connection = store({**CELLS, ("a", "b"): 1.0})
    connection.execute("delete from influence where query_id = 'b' and probe_id = 'p:a'")
    assert rows_of(connection, "checks")["missing cells"]["n"] == 1
    connection.execute("update wanted set base = 'b', recipe = 'finetune', queries = queries - 1")
    assert "missing cells" not in rows_of(connection, "checks")  # another part wants that pair, of another arm
    connection.execute("update wanted set queries = queries + 1, recipe = 'another'")
    assert "missing cells" not in rows_of(connection, "checks")


def test_duplicated_relations_that_disagree_claim_nothing(store) -> None:
    cells = {**CELLS, **{(name, "n"): -1.0 for name in "abcdefgh"}}
    connection = store(cells, kinds={(name, "n"): "negation" for name in "abcdefgh"})
    connection.execute("insert into relations values ('p:a', 'n', 'paraphrase', null, null)")
    assert rows_of(connection, "checks")["duplicated relations"]["n"] == 1
    assert rows_of(connection, "negation")["nats"]["n"] == 7


def test_failed_probes_are_told(store) -> None:
    connection = store(CELLS)
    connection.execute(
        "insert into outcomes (base, estimator, recipe, probe_id, seed, status, reason)"
        " values ('b', 'finetune', 'finetune', 'p:z', 0, 'failed', 'loss is NaN at step 3')"
    )
    assert rows_of(connection, "checks")["failed probes"]["note"] == "e.g. loss is NaN at step 3"


def test_an_arm_that_trains_nothing_must_have_no_influence(store) -> None:
    connection = store(CELLS)
    connection.execute("update recipes set json = '{\"steps\": 0}'")
    assert rows_of(connection, "checks")["no-op cells that are not zero"]["n"] == 8


def test_an_empty_store_gives_an_empty_scorecard(store) -> None:
    connection = store(CELLS)
    connection.execute("delete from influence")
    assert score(connection).num_rows == 0


def test_scoring_leaves_the_connection_as_it_was(store) -> None:
    connection = store(CELLS)
    before = connection.execute("show all tables").fetchall()
    score(connection, draws=10)
    assert connection.execute("show all tables").fetchall() == before


def test_equal_stores_give_equal_scorecards(store) -> None:
    assert score(store(CELLS), seed=3).equals(score(store(dict(reversed(CELLS.items()))), seed=3))


def user_file(folder: Path, text: str, name: str = "mine.sql") -> Path:
    (folder / name).write_text(text)
    return folder


def test_a_users_own_model_joins_the_scorecard(store, tmp_path: Path) -> None:
    text = "select run, probe, self_influence * 2 as value, 0.0 as null_value from mart_samples"
    row = rows_of(store(CELLS), "mine", user_sql=user_file(tmp_path, text))["mine"]
    assert (row["value"], row["n"]) == (pytest.approx(9.0), 8)
    assert row["ci_low"] < row["value"] < row["ci_high"]


def test_a_users_model_may_say_what_its_numbers_are_and_which_way_is_better(store, tmp_path: Path) -> None:
    text = """
        select run, probe, 'far, nats' as variant, 'nats' as formula, 'far' as kind, 2 as level, 'lower' as better,
            self_influence as value, 0.5 as null_value
        from mart_samples
        union all
        select run, probe, 'near' as variant, null, null, null, null, self_influence, 0.5 from mart_samples
    """
    rows = rows_of(store(CELLS), "mine", user_sql=user_file(tmp_path, text))
    far, near = rows["far, nats"], rows["near"]
    assert [far[name] for name in ("formula", "kind", "level", "place")] == ["nats", "far", 2.0, None]
    assert (far["better"], far["bar"], far["verdict"]) == ("lower", 0.4, "violated")  # the probes stand at 1 to 8
    assert [near[name] for name in ("formula", "kind", "level", "better", "verdict")] == [
        "near", None, None, "neither", "described",
    ]  # fmt: skip


def test_a_users_model_of_the_old_columns_alone_is_described_by_its_variant(store, tmp_path: Path) -> None:
    text = """
        select run, probe, 'double' as variant, self_influence * 2 as value, null::double as weight,
            0.0 as null_value, 20.0 as ideal, 'median' as summary
        from mart_samples
    """
    row = rows_of(store(CELLS), "mine", user_sql=user_file(tmp_path, text))["double"]
    assert (row["value"], row["formula"], row["bar"], row["verdict"]) == (9.0, "double", 5.0, row["verdict"])
    assert {row[name] for name in ("kind", "level", "place", "layer", "about", "partner")} == {None}
    # A quarter of the way from 0 to 20 is 5; the probes stand at 2, 4, … 16.
    assert row["verdict"] == ("met" if row["ci_low"] >= 5 else "cannot tell")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("select nothing from nowhere", "mine.sql"),
        ("select run, probe from mart_samples", "no column value"),
        ("select run, probe, 'x' as value from mart_samples", "column value"),
        ("select run, probe, query, influence as value from stg_cells union all from stg_cells select run, probe, 1, 2",
         "several rows for one run, probe and variant"),
        ("select run, probe, 1.0 as value, 'mode' as summary from mart_samples", "mean, median, ratio or quotient"),
        ("select run, probe, 1.0 as value, 'up' as better from mart_samples", "higher, lower or neither"),
        ("select run, probe, 1.0 as value, probe as level from mart_samples", "level: found several"),
        ("create temp table x as select 1 as y", "no column probe, run, value"),
    ],
)  # fmt: skip
def test_a_users_model_that_cannot_be_used_says_why(store, tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        score(store(CELLS), user_sql=user_file(tmp_path, text))


def test_a_users_model_may_not_take_a_shipped_name(store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="shipped desideratum"):
        score(store(CELLS), user_sql=user_file(tmp_path, "select 1", "negation.sql"))
    with pytest.raises(InputError, match="no such folder"):
        score(store(CELLS), user_sql=tmp_path / "absent")
