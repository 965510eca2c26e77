"""Curated tables have the store's columns, one row for every wanted pair, and no dangling ids."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from einfluence.curate import curate
from einfluence.curate.output import TABLES as TABLE_FILES
from einfluence.curate.output import write_tables
from einfluence.curate.tables import _draws
from einfluence.samples import Curated
from einfluence.spec import Facts, Images, Part, Spec
from einfluence.store.files import table_bytes
from einfluence.store.schema import TABLES

WORLD = Path(__file__).parent / "data" / "birds.yaml"


def curated(**data: object) -> Curated:
    part = Part.model_validate({"base": "x", **data})
    return curate(
        part, Spec(parts=(part,)), lambda samples: np.ones((len(samples), 3)) + np.arange(len(samples))[:, None]
    )


@pytest.mark.parametrize(
    "data",
    [{"facts": Facts(file=str(WORLD))}, {"images": Images(probes=10, queries=20, noise={"gaussian": (-5.0,)})}],
)
def test_tables_have_the_stores_schema(data: dict[str, object]) -> None:
    made = curated(**data)
    for name in ("samples", "probes", "probe_members", "relations", "distances"):
        table = pq.read_table(pa.BufferReader(table_bytes(getattr(made, name))))  # as the store writes it
        assert table.schema.equals(TABLES[name], check_metadata=False), name
        assert table.num_rows > 0
    assert made.report.column_names == ["gate", "count", "example"]


def test_every_probe_meets_every_query_once() -> None:
    made = curated(facts=Facts(file=str(WORLD)))
    pairs = list(zip(made.relations["probe_id"].to_pylist(), made.relations["query_id"].to_pylist(), strict=True))
    probes, queries = set(made.probes["probe_id"].to_pylist()), {query for _, query in pairs}
    assert len(set(pairs)) == len(pairs) == len(probes) * len(queries)
    known = set(made.samples["sample_id"].to_pylist())
    assert queries | set(made.probe_members["sample_id"].to_pylist()) <= known
    assert set(made.probe_members["probe_id"].to_pylist()) == probes


@pytest.mark.parametrize("n", [3_000, 5_870, 40_503, 48_271])  # some share a divisor with the numbers that draw
def test_drawn_queries_differ_within_a_probe_and_among_probes(n: int) -> None:
    drawn = _draws(np.random.default_rng(0).integers(2**32, size=50, dtype=np.uint64), 64, n)
    assert 0 <= drawn.min() and drawn.max() < n
    assert min(len(set(row)) for row in drawn.tolist()) == 64
    assert len(np.unique(drawn)) > 1_000


def test_same_seed_same_tables() -> None:
    for data in ({"facts": Facts(file=str(WORLD))}, {"images": Images(probes=5, queries=9, noise={"shot": (-5.0,)})}):
        one, two = curated(**data), curated(**data)
        for name in ("samples", "probes", "probe_members", "relations", "distances", "report"):
            assert getattr(one, name).equals(getattr(two, name))


def test_same_seed_same_files(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_tables(curated(facts=Facts(file=str(WORLD))), tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == sorted(f"{name}.parquet" for name in TABLE_FILES)
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in files)
