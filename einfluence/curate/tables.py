"""From a filled builder to the tables: which pairs are wanted, what each is, and how far apart."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from einfluence.curate.adopt import Adopt, adopted
from einfluence.curate.builder import KINDS, Codes, CurationBuilder, Floats, Ints, Measure
from einfluence.samples import Curated, Probe, Sample

SPARSE_QUERIES = 64  # where not all pairs are measured: at most so many a probe that it claims nothing about


def all_pairs(builder: CurationBuilder, most: int) -> tuple[Ints, Ints]:
    """Rows of probes and of queries for every wanted pair, sorted by probe.

    Every probe meets every query up to ``most`` pairs; beyond, a probe meets what it has a claim about and
    at most SPARSE_QUERIES others (8 at least, ``most`` in all), drawn by its own id, and the report says so.
    """
    n_probes, n_queries = len(builder.probes), len(builder.queries)
    if n_probes * n_queries <= most:
        probes = np.repeat(np.arange(n_probes, dtype=np.int64), n_queries)
        return probes, np.tile(np.arange(n_queries, dtype=np.int64), n_probes)
    row = {probe_id: index for index, probe_id in enumerate(builder.probes)}
    claimed = np.array([row[p] * n_queries + builder.queries[q] for p, q in builder.claims], dtype=np.int64)
    seeds = np.array([int(probe_id[:8], 16) for probe_id in builder.probes], dtype=np.uint64)
    draws_each = int(np.clip(most // n_probes, 8, SPARSE_QUERIES))
    # A multiplicative hash of (probe, draw) is enough to spread the draws; sorting ids frees it of the queries' order.
    order = np.argsort(np.array(list(builder.queries)))
    drawn = order[_draws(seeds, draws_each, n_queries)]
    others = (np.arange(n_probes, dtype=np.int64)[:, None] * n_queries + drawn).ravel()
    keys = np.sort(np.concatenate([claimed, others]))
    keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])]
    builder.gates.count(
        "pairs not wanted (too many)", f"{n_probes} probes x {n_queries} queries", n_probes * n_queries - len(keys)
    )
    return keys // n_queries, keys % n_queries


def _draws(seeds: npt.NDArray[np.uint64], each: int, n: int) -> Ints:
    """For each seed so many numbers below n."""
    # With a divisor of 587 or 48,271 in common, a step or factor would lead to the same few again and again.
    step = np.uint64(40_503 if n % 587 else 40_507)
    factor = np.uint64(48_271 if n % 48_271 else 48_281)
    draws = seeds[:, None] * np.uint64(2654435761) + np.arange(each, dtype=np.uint64) * step
    return (draws % np.uint64(1_000_000_007) * factor % np.uint64(n)).astype(np.int64)


def finish(
    builder: CurationBuilder,
    measures: Mapping[str, Measure],
    default_kind: Callable[[Ints, Ints], Codes] | None,
    pairs: int,
    adopt: Adopt | None = None,
) -> Curated:
    """Builds the tables.

    Args:
        builder: What was curated; every member of a probe and every query is among its samples.
        measures: Distance measures by name; the first becomes ``relations.distance``.
        default_kind: Index into KINDS for pairs without a claim, -1 for none, from rows of probes and of queries. Of
            noisy probes nothing is claimed by default.
        pairs: Most pairs of which all are wanted.
        adopt: How the base's objective asks texts to be continued, where that is another one.
    """
    builder.claim_selves()
    probes, queries = all_pairs(builder, pairs)
    code = np.full(len(probes), -1, np.int8) if default_kind is None else default_kind(probes, queries)
    noisy = np.array([probe.kind == "noisy" for probe in builder.probes.values()], dtype=bool)
    code[noisy[probes]] = -1
    level = np.full(len(probes), np.nan)
    at = _positions(builder, probes, queries)
    for (pair, (kind, depth)), index in zip(builder.claims.items(), at(list(builder.claims)), strict=True):
        if index < 0:
            raise ValueError(f"a claim about a pair that is not wanted: {pair}")
        code[index] = -1 if kind is None else KINDS.index(kind)
        level[index] = np.nan if depth is None else depth
    found = {name: measure(probes, queries) for name, measure in measures.items()}
    if builder.given:
        given = np.full(len(probes), np.nan, np.float32)
        given[at(list(builder.given))] = list(builder.given.values())
        found = {"given": given, **found}
    queried, trained = adopted(builder, adopt)
    ids = {
        "probe_id": _coded([probe.probe_id for probe in trained.values()], probes),
        "query_id": _coded([queried[key].sample_id for key in builder.queries], queries),
    }
    first = next(iter(found), None)
    relations = pa.table(
        {
            **ids,
            "kind": pa.array(KINDS, pa.string()).take(pa.array(code, mask=code < 0)),
            "level": pa.array(level, pa.float64(), from_pandas=True),
            "distance": pa.nulls(len(probes), pa.float32()) if first is None else _distance(found[first]),
        }
    )
    distances = [
        pa.table({**ids, "measure": _coded([name], np.zeros_like(probes)), "distance": _distance(values)})
        for name, values in found.items()
        if name != first
    ]
    return Curated(
        samples=samples_table([queried[key] for key in _used(builder)]),
        probes=probes_table({probe.probe_id: probe for probe in trained.values()}),
        probe_members=members_table({probe.probe_id: probe for probe in trained.values()}),
        relations=relations,
        distances=pa.concat_tables(
            [table.drop_null() for table in distances] or [_DISTANCES.empty_table()]
        ).unify_dictionaries(),
        report=builder.gates.table(),
        later=tuple(queried[key].sample_id for key in builder.later),
    )


def _used(builder: CurationBuilder) -> list[str]:
    """Samples in a probe, among the queries, of a second stage, or the clean version of one that is."""
    used = {member for probe in builder.probes.values() for member in probe.members} | builder.queries.keys()
    used |= set(builder.later)
    used |= {parent for key in used if (parent := builder.samples[key].parent_id) is not None}
    return [key for key in builder.samples if key in used]


def _positions(builder: CurationBuilder, probes: Ints, queries: Ints) -> Callable[[Sequence[tuple[str, str]]], Ints]:
    n_queries = max(1, len(builder.queries))
    row = {probe_id: index for index, probe_id in enumerate(builder.probes)}

    def at(pairs: Sequence[tuple[str, str]]) -> Ints:
        wanted = np.array([row[probe] * n_queries + builder.queries[query] for probe, query in pairs], dtype=np.int64)
        if not len(wanted) or len(probes) == len(builder.probes) * n_queries:
            return wanted
        keys = probes * n_queries + queries
        where = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return np.where(keys[where] == wanted, where, -1)

    return at


def _coded(names: list[str], rows: Ints) -> pa.DictionaryArray:
    """Names at these rows, each held once: there may be millions of rows."""
    return pa.DictionaryArray.from_arrays(pa.array(rows.astype(np.int32)), pa.array(names, pa.string()))


def _distance(values: Floats) -> pa.Array:
    return pa.array(np.maximum(values, 0), pa.float32(), from_pandas=True)


_DISTANCES = pa.schema(
    {"probe_id": pa.string(), "query_id": pa.string(), "measure": pa.string(), "distance": pa.float32()}
)


def samples_table(samples: Sequence[Sample]) -> pa.Table:
    """The ``samples`` table; pixels flattened, the cluster filled in."""
    texts = {name: pa.array([getattr(sample, name) for sample in samples], pa.string()) for name in _TEXT_COLUMNS}
    image = [sample.pixels is not None for sample in samples]
    arrays = [sample.pixels for sample in samples if sample.pixels is not None]
    sizes = np.array([0 if sample.pixels is None else sample.pixels.size for sample in samples], np.int64)
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    flat = np.concatenate([array.ravel() for array in arrays]) if arrays else np.zeros(0, np.float32)
    absent = pa.array([not is_image for is_image in image])
    pixels = pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat, pa.float32()), mask=absent)
    shapes = [None if sample.pixels is None else list(sample.pixels.shape) for sample in samples]
    return pa.table(
        {
            "sample_id": texts["sample_id"],
            "name": texts["name"],
            "modality": texts["modality"],
            "prompt": texts["prompt"],
            "target": texts["target"],
            "label": pa.array([sample.label for sample in samples], pa.int32()),
            "label_name": texts["label_name"],
            "pixels": pixels,
            "shape": pa.array(shapes, pa.list_(pa.int32())),
            "domain": texts["domain"],
            "cluster": pa.array([sample.cluster or sample.sample_id for sample in samples], pa.string()),
            "template": texts["template"],
            "source": texts["source"],
            "parent_id": texts["parent_id"],
            "noise": texts["noise"],
            "level": pa.array([sample.level for sample in samples], pa.float64()),
            "gap": texts["gap"],
            "objective": texts["objective"],
            "inputs": pa.array([_json(sample.inputs) for sample in samples], pa.string()),
        }
    )


_TEXT_COLUMNS = (
    "sample_id", "name", "modality", "prompt", "target", "label_name", "domain", "template", "source", "parent_id",
    "noise", "gap", "objective",
)  # fmt: skip


def _json(inputs: Mapping[str, object]) -> str | None:
    return json.dumps(inputs, ensure_ascii=False) if inputs else None


def probes_table(probes: Mapping[str, Probe]) -> pa.Table:
    """The ``probes`` table, from probes by their ``probe_id``."""
    return pa.table(
        {
            "probe_id": pa.array(list(probes), pa.string()),
            "name": pa.array([probe.name for probe in probes.values()], pa.string()),
            "kind": pa.array([probe.kind for probe in probes.values()], pa.string()),
            "control": pa.array([probe.control for probe in probes.values()], pa.string()),
        }
    )


def members_table(probes: Mapping[str, Probe]) -> pa.Table:
    """The ``probe_members`` table, from probes by their ``probe_id``."""
    rows = [(key, place, member) for key, probe in probes.items() for place, member in enumerate(probe.members)]
    return pa.table(
        {
            "probe_id": pa.array([row[0] for row in rows], pa.string()),
            "position": pa.array([row[1] for row in rows], pa.int32()),
            "sample_id": pa.array([row[2] for row in rows], pa.string()),
        }
    )
