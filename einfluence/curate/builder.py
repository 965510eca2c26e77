"""What every curation fills: samples, probes, queries and claims about pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from einfluence.curate.rows.content import Written
from einfluence.samples import Probe, Sample

KINDS = (
    "self", "paraphrase", "negation", "double_negation", "entailed", "premise", "contrapositive", "reversed",
    "sibling", "neighbour", "unrelated", "noisy", "near_duplicate", "contradiction",
)  # fmt: skip
PROBE_KINDS = ("sample", "bundle", "sequence", "noisy", "control")

Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int8]
Floats = npt.NDArray[np.float32]
Measure = Callable[[Ints, Ints], Floats]
"""Distances of pairs: (rows of probes, rows of queries) → float32 array of the same length, NaN where undefined.

Pairs are all different and sorted, so as many as there can be are all of them, row by row.
"""


@dataclass
class Gates:
    """Counts of what the quality gates found, each with the first example; a gate that found nothing counts 0."""

    rows: dict[str, tuple[int, str]] = field(default_factory=dict[str, tuple[int, str]])

    def open(self, *names: str) -> None:
        """Names gates that are going to be checked, so that a count of 0 can be told from a check not made."""
        for name in names:
            self.rows.setdefault(name, (0, ""))

    def count(self, name: str, example: str = "", number: int = 1) -> None:
        """Adds to a gate's count."""
        count, first = self.rows.get(name, (0, ""))
        example = example if number else ""
        self.rows[name] = (count + number, first or example[:200])

    def table(self) -> pa.Table:
        """Rows of (gate, count, example)."""
        return pa.table(
            {
                "gate": pa.array(list(self.rows), pa.string()),
                "count": pa.array([count for count, _ in self.rows.values()], pa.int64()),
                "example": pa.array([example or None for _, example in self.rows.values()], pa.string()),
            }
        )


@dataclass
class CurationBuilder:
    """Samples by ``sample_id``, probes by ``probe_id``, queries (``sample_id``, in order) and claims about pairs.

    A claim is (kind, level), given by (probe_id, query_id); the first one stands. ``given`` holds distances that the
    user gave; ``join`` is what the part puts between prompt and target. ``words`` are those that the user
    wrote of samples that a chat template has written. ``later`` are the samples (``sample_id``, in order) of a second
    stage, which are neither probes nor queries because of it. ``chats`` are those that samples (``sample_id``, in
    order) are the answers of. ``noised`` are the probes that have noisy versions where the part asks for such; None
    for all of one row. ``derived`` are the samples that were made of others in other words.
    """

    samples: dict[str, Sample] = field(default_factory=dict[str, Sample])
    probes: dict[str, Probe] = field(default_factory=dict[str, Probe])
    queries: dict[str, int] = field(default_factory=dict[str, int])
    claims: dict[tuple[str, str], tuple[str | None, float | None]] = field(
        default_factory=dict[tuple[str, str], tuple[str | None, float | None]]
    )
    given: dict[tuple[str, str], float] = field(default_factory=dict[tuple[str, str], float])
    gates: Gates = field(default_factory=Gates)
    join: str | None = None
    words: dict[str, str] = field(default_factory=dict[str, str])
    later: dict[str, None] = field(default_factory=dict[str, None])
    chats: dict[tuple[str, ...], Written] = field(default_factory=dict[tuple[str, ...], Written])
    noised: set[str] | None = None
    derived: set[str] = field(default_factory=set[str])

    def sample(self, sample: Sample) -> str:
        """Keeps a sample (the first of equal content) and returns its id; joined as the part says, if it does not."""
        if self.join is not None and sample.join is None and sample.gap is not None:
            sample = replace(sample, join=self.join)
        return self.samples.setdefault(sample.sample_id, sample).sample_id

    def probe(self, name: str, members: Sequence[str], kind: str = "sample", control: str | None = None) -> str:
        """Keeps a probe of samples (the first of equal members) and returns its id."""
        probe = Probe(name, tuple(members), kind, control)
        probe_id = probe.probe_id
        self.probes.setdefault(probe_id, probe)
        return probe_id

    def query(self, sample_id: str) -> str:
        """Makes a sample a query."""
        self.queries.setdefault(sample_id, len(self.queries))
        return sample_id

    def claim(self, probe_id: str, query_id: str, kind: str | None, level: float | None = None) -> None:
        """Says why a pair is interesting; an earlier claim stands."""
        self.claims.setdefault((probe_id, query_id), _shared(kind, level))

    def claim_selves(self) -> None:
        """Every probe whose member is a query is ``self`` there, a bundle or sequence to each of its members."""
        for probe_id, probe in self.probes.items():
            if probe.kind != "noisy":
                for member in probe.members:
                    if member in self.queries:
                        self.claims.setdefault((probe_id, member), ("self", None))


@lru_cache(maxsize=1024)
def _shared(kind: str | None, level: float | None) -> tuple[str | None, float | None]:
    """One tuple for all claims that say the same: there may be millions."""
    return kind, level
