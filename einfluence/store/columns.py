"""How a table is written down: its columns, each with a type and a meaning."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

ID = pa.string()

Columns = dict[str, tuple[Any, str]]


def table(doc: str, **columns: tuple[Any, str]) -> pa.Schema:
    """A table's schema, with its meaning and those of its columns under ``doc`` in the metadata."""
    fields = [pa.field(name, kind, metadata={"doc": text}) for name, (kind, text) in columns.items()]
    return pa.schema(fields, metadata={"doc": doc})


OUTCOME: Columns = {
    "status": (pa.string(), "done or failed"),
    "reason": (pa.string(), "why it failed; of one that is done, what else to know, else null"),
    "losses": (pa.list_(pa.float64()), "nats per target token, before each step"),
    "grad_norm": (pa.float64(), "Euclidean norm of the first step's gradient over the trained parameters"),
    "update_norm": (pa.float64(), "Euclidean norm of the change of the effective weights"),
    "noise_rms": (
        pa.float64(),
        "nats; root mean square error of influence by rounding, from a few probes of its block: of bfloat16 against "
        "float32, of float32 with Adam or AdamW against float64; null where it was not measured",
    ),
    "engine": (
        pa.string(),
        "what computed it: definition, batched lora, low-rank sgd, one by one, images, generic, or shared prefixes"
        " (in_context)",
    ),
    "fallback": (pa.string(), "why a faster engine was passed over; null where none was"),
    "seconds": (pa.float64(), "wall time of this probe's share of its shard"),
    "memory": (
        pa.int64(),
        "bytes that the process held at most while its block was computed, beyond those before; looked at some fifty "
        "times a second; null where the system does not tell, and in old stores",
    ),
    "parameter_share": (
        pa.float64(),
        "of an estimate, the numbers that gradients were taken of, over the base's parameters; null of others, and in "
        "old stores",
    ),
    "engine_version": (pa.string(), "version of the definition of the numbers"),
}
"""What happened to a probe, or to a training of a set."""
