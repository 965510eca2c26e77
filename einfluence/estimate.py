"""What a run would take, said before it: cells, time, memory and disk. Nothing is trained or scored."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from torch.utils.flop_counter import FlopCounterMode

from einfluence.engine.items import ImageItem, Item
from einfluence.estimators.measure import encode
from einfluence.models.base import Base
from einfluence.run import Prepared, arm_keys, curated_rows, loaded_base, prepare
from einfluence.samples import Sample
from einfluence.spec import Recipe, Spec
from einfluence.store.store import Store

# What the engines reach of the matrix product's speed, and what a cell takes in a Parquet part; both as measured on the
# embedded bases (see benchmarks/RESULTS.md). The time is meant to be right within a factor of two.
EFFICIENCY = 0.35
BYTES_PER_CELL = 30
PROCESS_BYTES = 900_000_000  # Python with torch, transformers, DuckDB and Prefect loaded
SAMPLED = 16  # queries whose cost is counted; the others are taken to be like them


@dataclass(frozen=True)
class Row:
    """What one arm of one part would take.

    Args:
        part: Name of the part.
        arm: Label of estimator and recipe, with the seed.
        wanted: Cells that the spec wants.
        missing: Cells that the store lacks.
        probes: Probes with a missing cell.
        seconds: Estimated computing time.
    """

    part: str
    arm: str
    wanted: int
    missing: int
    probes: int
    seconds: float


@dataclass(frozen=True)
class Estimate:
    """What a run would take: its arms, peak memory and new disk in bytes."""

    rows: tuple[Row, ...]
    memory: int
    disk: int

    @property
    def seconds(self) -> float:
        """Estimated computing time of all arms, on one worker."""
        return sum(row.seconds for row in self.rows)


def estimate(spec: Spec, store: Store) -> Estimate:
    """Plans a run without doing it. Data is curated into a folder that is thrown away; nothing is trained.

    Time is floating-point operations over the speed of a matrix product on this machine; the operations are counted in
    forward passes of a few queries and probes, three of which make a training step.

    Raises:
        InputError: When the spec or what it names cannot be used.
    """
    folder = Path(tempfile.mkdtemp(prefix="einfluence-plan-"))
    try:
        scratch = Store(folder / "store")
        prepared = [prepare(spec, part, scratch) for part in spec.parts]
        speed = _matrix_speed()
        rows: list[Row] = []
        memory = PROCESS_BYTES
        for item in prepared:
            base = loaded_base(item.base, item.part.trust_remote_code)
            cost = _Cost.of(base, scratch.root / "curations" / item.curation)
            memory = max(memory, PROCESS_BYTES + 3 * _size(base))
            rows += _rows(spec, item, scratch, store, cost, speed)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Estimate(tuple(rows), memory, sum(row.missing for row in rows) * BYTES_PER_CELL)


@dataclass(frozen=True)
class _Cost:
    """Floating-point operations of one forward pass: of a query, and of a probe."""

    query: float
    probe: float

    @classmethod
    def of(cls, base: Base, curation: Path) -> _Cost:
        samples, members = curated_rows(curation)
        queries = pq.read_table(curation / "relations.parquet", columns=["query_id"])["query_id"].unique().to_pylist()
        spread = queries[:: max(1, len(queries) // SAMPLED)]
        of_queries = _operations(base, [samples[name] for name in spread])
        names = [name for probe in list(members.values())[:SAMPLED] for name in probe]
        of_probes = _operations(base, [samples[name] for name in names])
        return cls(of_queries / len(spread), of_probes / min(len(members), SAMPLED))


def _rows(spec: Spec, item: Prepared, scratch: Store, store: Store, cost: _Cost, speed: float) -> list[Row]:
    rows: list[Row] = []
    folder = scratch.root / "curations" / item.curation
    pairs = pq.read_metadata(folder / "relations.parquet").num_rows
    for arm, key in arm_keys(item):
        blocks = store.missing(folder, key, spec.shard)
        missing, probes = sum(block.cells for block in blocks), sum(len(block.probe_ids) for block in blocks)
        steps = arm.recipe.steps if isinstance(arm.recipe, Recipe) else 0
        operations = missing * cost.query + probes * 3 * steps * cost.probe
        label = f"{arm.recipe.label}, seed {key.seed}"
        rows.append(Row(item.part.name, label, pairs, missing, probes, operations / speed / EFFICIENCY))
    return rows


def _operations(base: Base, samples: Sequence[Sample]) -> float:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        for sample in samples:
            _forward(base.model, encode(base, sample))
    return float(counter.get_total_flops())


def _forward(model: torch.nn.Module, item: Item) -> Any:
    device = next(model.parameters()).device
    if isinstance(item, ImageItem):
        return model(torch.zeros(1, *item.pixels.shape, device=device))
    return model(input_ids=torch.tensor([item.ids], device=device), use_cache=False)


def _matrix_speed(size: int = 512, repeats: int = 5) -> float:
    """Operations a second of a float32 matrix product with the threads that the last base was given."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    left, right = torch.randn(2, size, size, device=device)
    best = float("inf")
    for _ in range(repeats):
        begun = time.perf_counter()
        (left @ right).sum().item()
        best = min(best, time.perf_counter() - begun)
    return 2 * size**3 / best


def _size(base: Base) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in base.model.parameters())
