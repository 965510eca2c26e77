"""What a training changed of what matters, in the report: a made-up base and what was trained from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from scipy.stats import spearmanr

from einfluence.report import write_report
from einfluence.report.export import figures
from einfluence.report.query import parts_of, prepared
from einfluence.report.tuned import tuned
from einfluence.samples import Probe, Sample
from einfluence.store.views import create
from tests.report.tables import Tables

PROBES, GROWN = 6, {"0": 3.0, "1": 0.5}  # what the training multiplied influence through each layer by


def text(place: int) -> Sample:
    return Sample(name=f"fact{place}", prompt=f"fact {place} is", target=" so", cluster=f"family {place}")


def influence(seed: int, layer: str) -> np.ndarray[Any, Any]:
    return np.random.default_rng((seed, int(layer))).normal(size=(PROBES, PROBES))


@pytest.fixture
def store() -> duckdb.DuckDBPyConnection:
    """Two layers at three bases: after the training the first has another order, the second that of before."""
    tables = Tables()
    samples = [tables.sample(text(place)) for place in range(PROBES)]
    probes = [tables.probe(Probe(name=f"p{place}", members=(each.sample_id,))) for place, each in enumerate(samples)]
    for base, label in (("a", "model"), ("b", "model, trained on facts"), ("c", "another model")):
        tables.rows["bases"].append({"base": base, "label": label, "modality": "text", "json": "{}"})
        for layer, grown in GROWN.items():
            recipe = {"adapter": {"kind": "match", "pattern": rf"layers\.{layer}\."}}
            arm = tables.arm(base, "grad_dot", recipe, f"by layer {layer}")
            rows = influence(base == "b" and layer == "0", layer) * (grown if base == "b" else 1.0)
            for probe, row in zip(probes, rows, strict=True):
                tables.cells(arm, probe, samples, row)
    for probe in probes:
        for query in samples:
            tables.relation(probe, query, None, 0.5)
    connection = tables.connect()
    connection.execute("drop table base_changes")
    create(connection, "base_changes")
    return connection


def test_a_trained_base_is_held_against_the_one_that_it_began_as(store: duckdb.DuckDBPyConnection) -> None:
    with prepared(store):
        found = {part.label: tuned(store, part) for part in parts_of(store)}
    figure = found.pop("model, trained on facts")
    assert figure is not None and set(found.values()) == {None}
    rows = {row[0]: row[1:] for row in figure.numbers}
    assert list(rows) == ["layers.0", "layers.1"]
    before, after = influence(0, "0"), 3.0 * influence(1, "0")
    others = [[query for query in range(PROBES) if query != probe] for probe in range(PROBES)]
    alike = np.mean([float(spearmanr(before[p, others[p]], after[p, others[p]])[0]) for p in range(PROBES)])  # pyright: ignore
    sizes = [np.mean([np.abs(each[p, others[p]]).mean() for p in range(PROBES)]) for each in (before, after)]
    assert rows["layers.0"][:2] == (PROBES, f"{alike:.2f}".replace("-", "−"))
    assert rows["layers.0"][3] == f"{sizes[1] / sizes[0]:.2f}"
    assert rows["layers.1"] == (PROBES, "1.00", "1.00 to 1.00", "0.50", "0.50 to 0.50")


def test_the_page_and_the_exported_figures_have_it_where_there_is_such_a_base(
    store: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    assert "Base against tuned" in write_report(store, tmp_path / "report.html", run={}).read_text()
    names = [path.name for path in figures(store, tmp_path / "figures")]
    assert [name for name in names if "tuned" in name] != []
    store.execute("update bases set label = 'tuned elsewhere' where base = 'b'")
    assert "Base against tuned" not in write_report(store, tmp_path / "other.html", run={}).read_text()
