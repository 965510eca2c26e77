"""Stores of known truth of which some cells are measured: what is drawn is drawn by the store's own SQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa

from einfluence.store.schema import TABLES
from einfluence.store.views import create

PROBES, CLUSTERS, CONTROLS, QUERIES = 60, 40, 8, 240
CLAIMS = ("self", "paraphrase", "paraphrase", "negation", "entailed", "entailed")
CLUSTER = np.concatenate([np.minimum(np.arange(PROBES), np.arange(PROBES) % CLUSTERS), CLUSTERS + np.arange(CONTROLS)])
KINDS = np.array([*CLAIMS, *(["unrelated"] * 3 + ["neighbour"]) * QUERIES][:QUERIES])
CLAIMED = len(CLAIMS)


@dataclass(frozen=True)
class Rows:
    """Of N probes (controls last) on Q queries: what training does, what two controls say, and the distances."""

    influence: np.ndarray
    good: np.ndarray
    nonsense: np.ndarray
    distance: np.ndarray


def drawn_rows(rng: np.random.Generator, cluster: np.ndarray, controls: int = 0) -> Rows:
    """Influence with heavy tails that falls with distance, more or less by entity and probe.

    One control has a rank correlation of about 0.9 with it in each row, and a scale of its own; the other says nothing.
    """
    n, q = len(cluster), QUERIES
    entity, probe = rng.normal(size=(cluster.max() + 1, 4))[cluster], rng.normal(size=(n, 4))
    effect = (entity + probe) / np.sqrt(2)
    strength = np.exp(0.6 * effect[:, :1])
    distance = rng.gamma(4, 0.25, size=(n, q)).astype(np.float32)
    distance[:, :CLAIMED] *= 0.2
    distance[:, 0] = 0
    decay = 0.5 + 0.3 * effect[:, 1:2]
    spread = np.exp(0.35 + 0.25 * effect[:, 2:3])
    signal = rng.normal(size=(n, q)) * np.exp(0.5 * spread * rng.normal(size=(n, q)) - decay * distance)
    influence = 0.15 * strength * signal
    influence[:, :CLAIMED] += strength * np.array([2.5, 1.2, 1.2, 0.6, 0.4, 0.4])
    if controls:
        influence[-controls:, 1:CLAIMED] = 0.1 * rng.normal(size=(controls, CLAIMED - 1))
    scale = np.exp(rng.normal(size=(n, 1)))
    noise = np.exp(0.5 * rng.normal(size=(n, q))) * influence + 0.02 * strength * rng.normal(size=(n, q))
    return Rows(influence, scale * noise, scale * rng.standard_t(3, size=(n, q)), distance)


def store(batch: str, simulations: int, seed: int, groups: int = 4) -> duckdb.DuckDBPyConnection:
    """A connection with three bases of each simulation: all cells, a share with a good control, one with nonsense.

    Args:
        batch: Part of all ids, so that what is drawn differs between batches.
        simulations: How many.
        seed: Of the numbers.
        groups: Of queries, of twenty, that are measured.
    """
    rng = np.random.default_rng(seed)
    n = PROBES + CONTROLS
    probes = [f"{batch}p{p}" for p in range(n)]
    queries = [[f"{batch}s{p}/{k}" for k in range(QUERIES)] for p in range(n)]
    samples = [
        {"sample_id": name, "name": name, "modality": "text", "cluster": f"c{CLUSTER[p]}" if k == 0 else name}
        for p, row in enumerate(queries)
        for k, name in enumerate(row)
    ]
    kinds = np.tile(KINDS, (n, 1))
    kinds[PROBES:, 1:CLAIMED] = "unrelated"
    bases = [f"{which}{s}" for s in range(simulations) for which in ("whole", "good", "nonsense")]
    named = (("tuned", "finetune", None), ("said", "grad_dot", "tuned"))
    recipes = [{"recipe": name, "estimator": by, "label": "", "json": "{}", "stands_for": of} for name, by, of in named]
    data = {
        "samples": samples,
        "probes": [{"probe_id": p, "name": p, "kind": "control" if i >= PROBES else "sample"}
                   for i, p in enumerate(probes)],
        "probe_members": [{"probe_id": p, "position": 0, "sample_id": q[0]}
                          for p, q in zip(probes, queries, strict=True)],
        "bases": [{"base": b, "label": "", "modality": "text", "json": "{}"} for b in bases],
        "recipes": recipes,
    }  # fmt: skip
    connection = duckdb.connect(config={"python_enable_replacements": False, "threads": 1})
    computed = ("relations", "influence", "sampled", "influence_inferred")
    for name, schema in TABLES.items():
        if name not in computed:
            connection.from_arrow(pa.Table.from_pylist(data.get(name, []), schema=schema)).create(name)
    flat = np.array(queries).reshape(-1)
    pair = {"probe_id": np.repeat(probes, QUERIES), "query_id": flat}
    rows = [drawn_rows(rng, CLUSTER, CONTROLS) for _ in range(simulations)]
    # one distance for all simulations: that of the first, with the others' rows in its order
    for each in rows[1:]:
        for part in (each.influence, each.good, each.nonsense):
            order = np.argsort(each.distance[:, CLAIMED:], axis=1) + CLAIMED
            place = np.argsort(np.argsort(rows[0].distance[:, CLAIMED:], axis=1), axis=1)
            part[:, CLAIMED:] = np.take_along_axis(np.take_along_axis(part, order, 1), place, 1)
    relations = pa.table({**pair, "kind": kinds.reshape(-1), "level": pa.nulls(len(flat), pa.float64()),
                          "distance": rows[0].distance.reshape(-1)})  # fmt: skip
    connection.from_arrow(relations).create("relations")
    connection.from_arrow(relations.append_column("curation", pa.array([batch] * len(flat)))).create(
        "curated_relations"
    )
    arms = [(batch, base, "tuned", None if base.startswith("whole") else groups,
             None if base.startswith("whole") else "said") for base in bases]  # fmt: skip
    columns = {"curation": pa.string(), "base": pa.string(), "recipe": pa.string(), "groups": pa.int32(),
               "control": pa.string()}  # fmt: skip
    connection.from_arrow(
        pa.table({name: pa.array([arm[i] for arm in arms], kind) for i, (name, kind) in enumerate(columns.items())})
    ).create("study_arms")
    for name in ("sample_places", "placed_relations", "sampled"):
        create(connection, name)
    _insert(connection, pair, rows)
    create(connection, "influence_inferred")
    return connection


def _insert(connection: duckdb.DuckDBPyConnection, pair: dict[str, np.ndarray], rows: Sequence[Rows]) -> None:
    """Writes the cells that are measured: all of some bases, what is drawn of others; and what the controls say."""
    connection.execute(
        "create table truth (base varchar, recipe varchar, probe_id varchar, query_id varchar, influence double)"
    )
    for number, each in enumerate(rows):
        for base, recipe, values in (
            (f"whole{number}", "tuned", each.influence), (f"good{number}", "tuned", each.influence),
            (f"nonsense{number}", "tuned", each.influence), (f"good{number}", "said", each.good),
            (f"nonsense{number}", "said", each.nonsense),
        ):  # fmt: skip
            size = values.size
            cells = {"base": [base] * size, "recipe": [recipe] * size, **pair, "influence": values.reshape(-1)}
            connection.from_arrow(pa.table(cells)).insert_into("truth")
    connection.execute(
        """create table influence as
        select base, if(recipe = 'said', 'grad_dot', 'finetune') as estimator, recipe, probe_id, query_id,
            0::bigint as seed, influence, null::double as logprob_before, null::double as logprob_after,
            1::integer as n_tokens, null::integer as rank_before, null::integer as rank_after, '1' as engine_version
        from truth anti join (select base, recipe, probe_id, query_id from sampled where not drawn) as left_out
        using (base, recipe, probe_id, query_id)"""
    )
