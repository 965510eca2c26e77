"""When samples mattered, by fifths of the training, on numbers worked by hand."""

from __future__ import annotations

import duckdb
import pytest

from einfluence.metrics import per_probe, score
from tests.metrics.conftest import make_store

PROBES = "abcdef"


def of_fifths(sizes: dict[int, float], queries: str = "xy") -> duckdb.DuckDBPyConnection:
    """Data values of six probes by fifth: of a and so on, so much on x and as much below 0 on y."""
    cells = {
        f"data_value {fifth}": {
            (probe, query): (place + 1) * size * (1 if query == "x" else -1)
            for place, probe in enumerate(PROBES)
            for query in queries
        }
        for fifth, size in sizes.items()
    }
    truth = {"finetune": cells[f"data_value {min(sizes)}"]}
    made = make_store({**truth, **cells}, stands_for=dict.fromkeys(cells, "finetune"))
    for fifth in sizes:
        about = f'{{"fifth": {fifth}, "dtype": "float64"}}'
        made.execute("update recipes set json = ? where recipe = ?", [about, f"data_value {fifth}"])
    return made


def test_each_fifth_has_its_share_of_what_a_probe_did_whatever_its_sign() -> None:
    store = of_fifths({1: 4.0, 2: 0.0, 3: 1.0, 4: 2.0, 5: 3.0})
    rows = [row for row in per_probe(store).to_pylist() if row["desideratum"] == "timing"]
    a = {row["recipe"]: (row["value"], row["weight"]) for row in rows if row["probe"] == "a"}
    assert a == {f"data_value {fifth}": (2 * size, 20.0) for fifth, size in ((1, 4), (2, 0), (3, 1), (4, 2), (5, 3))}
    found = {row["level"]: row for row in score(store, draws=50).to_pylist() if row["desideratum"] == "timing"}
    assert {level: row["value"] for level, row in found.items()} == pytest.approx(
        {1.0: 0.4, 2.0: 0.0, 3.0: 0.1, 4.0: 0.2, 5.0: 0.3}
    )
    assert [row["null_value"] for row in found.values()] == pytest.approx([0.2] * 5)
    assert found[4.0]["p_value"] == 1.0  # a fifth of it in each probe


def test_with_a_fifth_missing_nobody_knows_the_whole() -> None:
    store = of_fifths({1: 4.0, 2: 1.0, 3: 1.0, 5: 3.0})
    assert [row for row in per_probe(store).to_pylist() if row["desideratum"] == "timing"] == []
