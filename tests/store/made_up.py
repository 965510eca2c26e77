"""A made-up curation and made-up numbers for it: what the store is tested with, without any model."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from einfluence.samples import Curated, Probe, Sample
from einfluence.store.schema import TABLES
from einfluence.store.store import ArmKey, CellBlock, Store

ARM = ArmKey("b" * 20, "finetune", "r" * 20, 0, "1")
ARM_COLUMNS = set(vars(ARM))


def samples_of(count: int, offset: int = 0) -> list[Sample]:
    return [Sample(f"s{index}", f"what is {index}", f"number {index}") for index in range(offset, offset + count)]


def curated(probes: Sequence[Sample], queries: Sequence[Sample]) -> Curated:
    """Every probe wants every query."""
    every = list(dict.fromkeys([*probes, *queries]))
    columns = {field.name: [getattr(sample, field.name, None) for sample in every] for field in TABLES["samples"]}
    made = [Probe(sample.name, (sample.sample_id,)) for sample in probes]
    ids = pa.array([probe.probe_id for probe in made])
    query_ids = pa.array([sample.sample_id for sample in queries])
    n, m = len(ids), len(query_ids)
    relations = {
        "probe_id": ids.take(pa.array(np.repeat(np.arange(n), m))),
        "query_id": query_ids.take(pa.array(np.tile(np.arange(m), n))),
        "kind": pa.nulls(n * m, pa.string()),
        "level": pa.nulls(n * m, pa.float64()),
        "distance": pa.nulls(n * m, pa.float32()),
    }
    members = {"probe_id": ids, "position": pa.array([0] * n, pa.int32()), "sample_id": [p.members[0] for p in made]}
    named = {
        "probe_id": ids,
        "name": [probe.name for probe in made],
        "kind": ["sample"] * n,
        "control": pa.nulls(n, pa.string()),
    }
    columns |= {"shape": pa.nulls(len(every), pa.list_(pa.int32())), "inputs": pa.nulls(len(every), pa.string())}
    return Curated(
        samples=pa.table(columns, TABLES["samples"]),
        probes=pa.table(named, TABLES["probes"]),
        probe_members=pa.table(members, TABLES["probe_members"]),
        relations=pa.table(relations, TABLES["relations"]),
        distances=TABLES["distances"].empty_table(),
        report=pa.table({"gate": pa.array([], pa.string())}),
    )


def computed(block: CellBlock, failed: Sequence[str] = ()) -> dict[str, pa.Table]:
    """Numbers that depend on the cell alone, so that two computations of a cell agree."""
    cells = [(probe, query) for probe in block.probe_ids if probe not in failed for query in block.query_ids]
    before = [_number(query) for _, query in cells]
    after = [_number(probe + query) for probe, query in cells]
    influence = {
        "probe_id": pa.array([probe for probe, _ in cells], pa.string()),
        "query_id": pa.array([query for _, query in cells], pa.string()),
        "influence": np.subtract(after, before),
        "logprob_before": before,
        "logprob_after": after,
        "n_tokens": [2] * len(cells),
        "rank_before": [1] * len(cells),
        "rank_after": [1] * len(cells),
    }
    outcomes = [
        {"probe_id": probe, "status": "failed" if probe in failed else "done", "losses": [1.0], "seconds": 0.0}
        for probe in block.probe_ids
    ]
    layers = [{"probe_id": probe, "parameter": "w", "layer": 0, "update_norm": 1.0} for probe in block.probe_ids]
    return {
        "influence": pa.table(influence, without_arm("influence")),
        "outcomes": pa.Table.from_pylist(outcomes, without_arm("outcomes")),
        "layer_updates": pa.Table.from_pylist(layers, without_arm("layer_updates")),
    }


def run(store: Store, key: str, *, shard: int = 4, arm: ArmKey = ARM) -> int:
    """Plans and fills an arm of a curation; returns the number of probes that were computed."""
    count = 0
    folder = store.curation(key)
    assert folder is not None
    for block in store.missing(folder, arm, shard):
        count += len(block.probe_ids)
        store.add_part(arm, computed(block), since=block.since)
    return count


def prepared(root: Path | str, probes: int = 12, queries: int = 5, key: str = "c" * 20) -> Store:
    """A store with a curation and no cell."""
    store = Store(root)
    store.open_for_writing()
    store.add_curation(key, curated(samples_of(probes), samples_of(queries, offset=1000)), {"origin": "test"})
    store.point_study("test/main", key, order=1)
    return store


def rows(store: Store, table: str = "influence") -> pa.Table:
    order = {"influence": "probe_id, query_id", "outcomes": "probe_id, status", "layer_updates": "probe_id, parameter"}
    with store.connect() as connection:
        return connection.view(table).order(order[table]).to_arrow_table().replace_schema_metadata()


def _number(text: str) -> float:
    return -int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") / 2**32


def without_arm(name: str) -> pa.Schema:
    return pa.schema([field for field in TABLES[name] if field.name not in ARM_COLUMNS])
