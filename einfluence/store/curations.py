"""Curations read back: the samples, and the members of each probe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from einfluence.errors import InputError
from einfluence.samples import InTurn, Sample


@lru_cache(maxsize=2)
def curated_rows(folder: Path) -> tuple[dict[str, Sample], dict[str, Sequence[str]]]:
    """A curation's samples by sample_id, and the sample_ids of each probe by probe_id, in order (or in turn)."""
    rows = pq.read_table(folder / "samples.parquet")
    members: dict[str, Any] = {}
    for row in pq.read_table(folder / "probe_members.parquet").sort_by("position").to_pylist():
        members.setdefault(row["probe_id"], []).append(row["sample_id"])
    kinds = pq.read_table(folder / "probes.parquet", columns=["probe_id", "kind"]).to_pylist()
    members |= {row["probe_id"]: InTurn(members[row["probe_id"]]) for row in kinds if row["kind"] == "sequence"}
    return {sample.sample_id: sample for sample in sample_rows(rows)}, members


def sample_rows(table: pa.Table) -> Iterator[Sample]:
    """The samples of a ``samples`` table.

    Raises:
        InputError: If one is not what its id says.
    """
    for row in table.to_pylist():
        image = row.pop("pixels"), row.pop("shape")
        sample_id, _ = row.pop("sample_id"), row.pop("modality")
        pixels = None if image[0] is None else np.array(image[0], np.float32).reshape(image[1])
        row["join"] = row.pop("gap", None)  # curations made before the column stood there have none
        fields: dict[str, Any] = {**row, "prompt": row["prompt"] or "", "target": row["target"] or ""}
        sample = Sample(**fields, pixels=pixels)
        if sample.sample_id != sample_id:
            raise InputError(
                "the store's samples", f"another content under {sample_id}", "what its hash says", "delete it"
            )
        yield sample
