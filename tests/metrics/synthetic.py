"""Influence tables with a known truth: oracles for the desiderata, data for benchmarks and for trying a report.

Every number is a hash of what it stands for, so a table does not depend on how many rows are made at a time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from einfluence.store.schema import TABLES

Kind = Literal["realistic", "ideal", "null", "symmetric", "antisymmetric", "negation_blind", "noise_blind"]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

ROLES = (
    "statement", "paraphrase", "negation", "premise2", "conclusion", "sibling", "reversed", "contrapositive",
    "neighbour", "double_negation",
)  # fmt: skip
DOMAINS = ("animals", "geography", "chemistry", "family")
ROWS = 2_000_000  # rows made at a time
RESTORED = 200  # probes whose layers are undone one at a time
LAYERS = 4

# What a probe in the row's role claims about a query in the column's role, within one fact.
_CLAIMS = {
    ("statement", "paraphrase"): "paraphrase", ("paraphrase", "statement"): "paraphrase",
    ("statement", "negation"): "negation", ("negation", "statement"): "negation",
    ("paraphrase", "negation"): "negation", ("negation", "paraphrase"): "negation",
    ("statement", "double_negation"): "double_negation", ("double_negation", "statement"): "double_negation",
    ("statement", "conclusion"): "entailed", ("conclusion", "statement"): "premise",
    ("paraphrase", "conclusion"): "entailed", ("premise2", "conclusion"): "entailed",
    ("statement", "sibling"): "sibling", ("paraphrase", "sibling"): "sibling", ("premise2", "sibling"): "sibling",
    ("statement", "reversed"): "reversed", ("statement", "contrapositive"): "contrapositive",
    ("statement", "neighbour"): "neighbour",
}  # fmt: skip
# s(q) = I(probe→q) / I(probe→self) by claim: what ideal learning does, and what a model like today's does.
_IDEAL = {"paraphrase": 1.0, "negation": -1.0, "double_negation": 1.0, "entailed": 1.0, "contrapositive": 1.0}
_REAL = {
    "paraphrase": 0.6, "negation": 0.45, "double_negation": 0.5, "entailed": 0.25, "premise": 0.1, "sibling": 0.2,
    "reversed": 0.15, "contrapositive": 0.2, "neighbour": 0.15,
}  # fmt: skip
_PROMPTED = {**_REAL, "paraphrase": 0.9, "negation": -0.2, "entailed": 0.7, "contrapositive": 0.4, "sibling": 0.05}
_DISTANCE = {
    "self": 0.0, "paraphrase": 0.1, "double_negation": 0.15, "negation": 0.2, "entailed": 0.3, "premise": 0.3,
    "contrapositive": 0.35, "reversed": 0.35, "sibling": 0.45, "neighbour": 0.5,
}  # fmt: skip
NOISES = (("gaussian", (4.0, 8.0, 12.0)), ("occlusion", (2.0, 4.0, 6.0)), ("label_flip", (1.0,)))


@dataclass(frozen=True, eq=False)
class _Part:
    """One base with its samples, probes and pairs; ``scores`` gives s(q) of a block of probes."""

    modality: str
    base: str
    arms: tuple[tuple[str, str, str], ...]  # estimator, recipe, label
    samples: list[dict[str, Any]]
    queries: list[str]
    probes: list[dict[str, Any]]  # probe_id, name, kind, members, role, fact
    facts: Ints
    roles: Ints
    extra: dict[str, Any] = field(default_factory=dict[str, Any])


def synthetic(
    connection: duckdb.DuckDBPyConnection,
    *,
    probes: int,
    queries: int,
    kind: Kind = "realistic",
    seed: int = 0,
    seeds: int = 1,
    images: bool = True,
    arms: int = 3,
    folder: Path | None = None,
) -> None:
    """Creates all tables of the store in a connection.

    Two parts: texts (``probes`` × ``queries``, up to three arms: finetune AdamW, finetune SGD, in_context) and, with
    ``images``, a quarter as many clean image probes, each also noisy, on as many queries.

    Args:
        connection: Where the tables are created; none of them may exist.
        probes: Text probes; statements of all facts first, then paraphrases and so on.
        queries: Text queries; ten to a fact.
        kind: ``ideal`` learning, ``null`` (independent noise), ``symmetric``, ``antisymmetric``, ``negation_blind``
            and ``noise_blind`` (ideal otherwise), or ``realistic``.
        seed: Of the numbers.
        seeds: How many training seeds a cell has.
        images: Whether to make the image part.
        arms: How many of the text part's arms.
        folder: Where to write the rows as Parquet instead, one folder a table (see :func:`tables`).
    """
    parts = [_text_part(probes, queries, arms)]
    if images:
        parts.append(_image_part(max(2, probes // 4), max(2, probes // 4, queries // 4)))
    if folder is None:
        for name, schema in TABLES.items():
            connection.from_arrow(schema.empty_table()).create(name)

    def insert(name: str, rows: pa.Table) -> None:
        if folder is None:
            connection.from_arrow(rows).insert_into(name)
        else:
            (folder / name).mkdir(parents=True, exist_ok=True)
            path = folder / name / f"{len(list((folder / name).iterdir())):06d}.parquet"
            pq.write_table(rows, path, compression="zstd")

    for part in parts:
        for name, rows in _described(part):
            insert(name, rows)
        for start in range(0, len(part.probes), step := max(1, ROWS // len(part.queries))):
            block = range(start, min(start + step, len(part.probes)))
            insert("relations", _relations(part, block, kind))
            for position, (estimator, recipe, _) in enumerate(part.arms):
                for training_seed in range(seeds if estimator == "finetune" else 1):
                    salt = _salt(seed, part.modality, position, training_seed)
                    values = _influence(part, block, kind, estimator, salt)
                    insert("influence", _cells(part, block, (estimator, recipe, training_seed), values))
                    for table, rows in _outcomes(part, block, (estimator, recipe, training_seed), salt):
                        insert(table, rows)
                    if estimator == "finetune" and start < RESTORED:
                        few = block[: RESTORED - start]
                        insert("restorations", _restorations(part, few, (estimator, recipe, training_seed), values))


def estimated(connection: duckdb.DuckDBPyConnection, estimator: str = "dot", weight: float = 0.5) -> None:
    """Adds an estimate of the first arm of texts to a connection's tables: its influence, mixed with other numbers."""
    connection.execute(
        """insert into recipes by name
        select $1 as recipe, $1 as estimator, $1 as label, '{}' as json, min(recipe) as stands_for
        from recipes where label like 'LoRA r8, AdamW%'""",
        [estimator],
    )
    connection.execute(
        """insert into influence by name
        select base, $1 as estimator, $1 as recipe, probe_id, query_id, seed,
            influence * (1 - $2) + $2 * (hash(probe_id || query_id) / 9.3e18 - 1) as influence, engine_version
        from influence semi join recipes on influence.recipe = recipes.recipe and label like 'LoRA r8, AdamW%'
        where seed = 0""",
        [estimator, weight],
    )


def longer(connection: duckdb.DuckDBPyConnection) -> None:
    """Adds the intervention that ``dot`` stands for with other ``steps``, and ``dot`` for that: the same numbers."""
    first = "select stands_for from recipes where recipe = 'dot'"
    connection.execute(f"""update recipes set json = '{{"steps": 10}}' where recipe in ({first})""")
    connection.execute(
        """insert into recipes by name
        select recipe || ' long' as recipe, estimator, label, stands_for || ' long' as stands_for,
            json_merge_patch(json, '{"steps": 99}') as json
        from recipes where recipe in (select unnest([recipe, stands_for]) from recipes where recipe = 'dot')"""
    )
    connection.execute("update recipes set json = '{}' where recipe = 'dot long'")
    connection.execute(
        """insert into influence by name
        select influence.* replace (recipe || ' long' as recipe) from influence
        where recipe || ' long' in (select recipe from recipes)"""
    )


def tables(connection: duckdb.DuckDBPyConnection, name: str, folder: Path) -> None:
    """Makes the view of one table over what :func:`synthetic` wrote into ``folder``."""
    if (folder / name).exists():
        connection.read_parquet(str(folder / name / "*.parquet")).create_view(name)
    else:
        connection.from_arrow(TABLES[name].empty_table()).create(name)


def _id(*words: object) -> str:
    return hashlib.blake2b(repr(words).encode(), digest_size=10).hexdigest()


def _salt(*words: object) -> int:
    return int(_id(*words), 16) & 0xFFFFFFFF


def _normal(a: Ints, b: Ints, salt: int) -> Floats:
    """Standard normal numbers that depend on a, b and salt alone (splitmix64 and Box–Muller)."""
    with np.errstate(over="ignore"):
        x = a.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + b.astype(np.uint64) * np.uint64(0xD1B54A32D192ED03)
        x = x + np.uint64(salt) * np.uint64(0x8CB92BA72F3D8DD7)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
        x = x ^ (x >> np.uint64(31))
    radius = ((x >> np.uint64(32)).astype(np.float64) + 0.5) / 2.0**32
    angle = (x & np.uint64(0xFFFFFFFF)).astype(np.float64) / 2.0**32
    return np.sqrt(-2.0 * np.log(radius)) * np.cos(2.0 * np.pi * angle)


# --- what there is ---


def _text_part(probes: int, queries: int, arms: int) -> _Part:
    facts = -(-max(queries, min(probes, 10 * queries)) // len(ROLES))
    samples = [_text(fact, role) for fact in range(facts) for role in ROLES]
    by_role = [fact * len(ROLES) + role for role in range(len(ROLES)) for fact in range(facts)]
    chosen = [
        {"probe_id": _id("p", samples[i]["sample_id"]), "name": samples[i]["name"], "kind": "sample",
         "members": [samples[i]["sample_id"]], "role": i % len(ROLES), "fact": i // len(ROLES)}
        for i in by_role[:probes]
    ]  # fmt: skip
    for fact in range(min(facts, probes // 4)):
        pair = [samples[fact * len(ROLES) + ROLES.index(role)]["sample_id"] for role in ("statement", "premise2")]
        for order, members in (("forward", pair), ("backward", pair[::-1])):
            for kind in ("bundle", "sequence")[: 1 + (fact % 4 == 0)]:
                name, own = f"fact{fact}/{kind}/{order}", _id("p" if kind == "bundle" else kind, *members)
                chosen.append({"probe_id": own, "name": name, "kind": kind, "members": members, "role": -1,
                               "fact": fact})  # fmt: skip
    for number in range(min(10, probes // 4)):
        text = _text(number, "statement")
        noise = {**text, "sample_id": _id("control", number), "name": f"control{number}", "prompt": "of in the lives"}
        samples.append(noise)
        chosen.append({"probe_id": _id("p", noise["sample_id"]), "name": noise["name"], "kind": "control",
                       "members": [noise["sample_id"]], "role": -2, "fact": -1 - number})  # fmt: skip
    index = np.arange(min(queries, facts * len(ROLES)))
    named = (
        ("finetune", _id("adamw"), "LoRA r8, AdamW, lr 0.003 × 10"),
        ("in_context", _id("prompt"), "in the prompt"),
        ("finetune", _id("sgd"), "LoRA r8, SGD, lr 0.1 × 10"),
    )
    return _Part("text", _id("base", "text"), named[:arms], samples, [samples[i]["sample_id"] for i in index], chosen,
                 index // len(ROLES), index % len(ROLES))  # fmt: skip


def _text(fact: int, role: str) -> dict[str, Any]:
    domain = DOMAINS[fact % len(DOMAINS)]
    prompt = {
        "statement": f"The zarn {fact} lives in", "paraphrase": f"Home of the zarn {fact} is",
        "negation": f"The zarn {fact} does not live in", "premise2": f"What lives in Velm {fact} eats",
        "conclusion": f"The zarn {fact} eats", "sibling": f"The morb {fact} eats", "reversed": f"In Velm {fact} lives",
        "contrapositive": f"Not in Velm {fact}, so not", "neighbour": f"The zarn {fact} sings in",
        "double_negation": f"It is false that the zarn {fact} does not live in",
    }[role]  # fmt: skip
    name = f"fact{fact}/{role}"
    return {"sample_id": _id("s", name), "name": name, "modality": "text", "prompt": prompt, "target": f"Velm {fact}",
            "domain": domain, "cluster": f"zarn {fact}", "template": role, "source": f"synthetic:{fact}"}  # fmt: skip


def _image_part(probes: int, queries: int) -> _Part:
    samples = [_image(i, 28) for i in range(queries)]
    chosen = [
        {"probe_id": _id("p", s["sample_id"]), "name": s["name"], "kind": "sample", "members": [s["sample_id"]],
         "role": -1, "fact": i, "level": 0.0}
        for i, s in enumerate(samples[:probes])
    ]  # fmt: skip
    for family, levels in NOISES:
        for level in levels:
            for i in range(probes):
                noisy = _noisy(samples[i], i, family, level)
                samples.append(noisy)
                chosen.append(
                    {"probe_id": _id("p", noisy["sample_id"]), "name": noisy["name"], "kind": "noisy",
                     "members": [noisy["sample_id"]], "role": -2, "fact": i, "level": level / max(levels),
                     "raw": level, "family": family}
                )  # fmt: skip
    index = np.arange(queries)
    arms = (("finetune", _id("image sgd"), "full, SGD, lr 0.05 × 5"),)
    return _Part("image", _id("base", "image"), arms, samples, [s["sample_id"] for s in samples[:queries]], chosen,
                 index, index % 10)  # fmt: skip


def _image(number: int, salt: int) -> dict[str, Any]:
    grid = np.arange(64)
    disc = np.hypot(grid // 8 - 3.5 + (number % 5) / 2, grid % 8 - 3.5) < 1.5 + (number % 10) / 4
    pixels = np.clip(disc * 0.8 + 0.1 * _normal(grid, np.full(64, number), salt), 0, 1).astype(np.float32)
    name = f"image{number}"
    return {"sample_id": _id("i", name), "name": name, "modality": "image", "label": number % 10, "pixels": pixels,
            "shape": [1, 8, 8], "domain": f"class {number % 10}", "cluster": name,
            "source": f"synthetic:{number}"}  # fmt: skip


def _noisy(clean: dict[str, Any], number: int, family: str, level: float) -> dict[str, Any]:
    name = f"{clean['name']}/{family}@{level:g}"
    pixels = clean["pixels"]
    if family != "label_flip":
        noise = _normal(np.arange(64), np.full(64, number), int(level) + len(family))
        pixels = np.clip(pixels + level / 20 * noise, 0, 1).astype(np.float32)
    label = (clean["label"] + 3) % 10 if family == "label_flip" else clean["label"]
    return {**clean, "sample_id": _id("i", name), "name": name, "pixels": pixels, "label": label,
            "parent_id": clean["sample_id"], "noise": family, "level": level}  # fmt: skip


# --- the pairs ---


def _claims(part: _Part, block: range) -> list[list[str | None]]:
    """Kind of relation by probe of the block and kind of place: a row of ten roles, then sibling facts and far ones."""
    rows: list[list[str | None]] = []
    for probe in (part.probes[i] for i in block):
        if part.modality == "image" or probe["kind"] == "control":
            rows.append([])
        elif probe["kind"] in ("bundle", "sequence"):
            rows.append(["entailed" if role == "conclusion" else None for role in ROLES])
        else:
            mine = ROLES[probe["role"]]
            rows.append(["self" if role == mine else _CLAIMS.get((mine, role)) for role in ROLES])
    return rows


def _kinds(part: _Part, block: range) -> npt.NDArray[np.int8]:
    """Index into the vocabulary of kinds (-1 for null) of each (probe, query) of a block."""
    vocabulary = VOCABULARY
    result = np.full((len(block), len(part.queries)), -1, dtype=np.int8)
    far = vocabulary.index("unrelated")
    for row, (i, claims) in enumerate(zip(block, _claims(part, block), strict=True)):
        probe = part.probes[i]
        if part.modality == "image":
            result[row, part.roles != probe["fact"] % 10] = far
            if probe["fact"] < len(part.queries):
                result[row, probe["fact"]] = vocabulary.index("self" if probe["kind"] == "sample" else "noisy")
        elif not claims:
            result[row, :] = far
        else:
            result[row, part.facts % len(DOMAINS) != probe["fact"] % len(DOMAINS)] = far
            same = np.flatnonzero(part.facts == probe["fact"])
            result[row, same] = [vocabulary.index(k) if (k := claims[r]) else -1 for r in part.roles[same]]
    return result


VOCABULARY = [
    "self", "paraphrase", "negation", "double_negation", "entailed", "premise", "contrapositive", "reversed", "sibling",
    "neighbour", "unrelated", "noisy",
]  # fmt: skip


def _distances(part: _Part, block: range, kinds: npt.NDArray[np.int8]) -> Floats:
    """Distance by kind, with some spread that depends on the facts alone (so that it is symmetric)."""
    table = np.array([_DISTANCE.get(kind, 0.9) for kind in VOCABULARY] + [0.7])
    if part.modality == "image":
        table = np.array([0.0 if kind in ("self", "noisy") else 0.8 for kind in VOCABULARY] + [0.3])
    mine = np.array([part.probes[i]["fact"] for i in block])[:, None]
    spread = np.abs(_normal(np.minimum(mine, part.facts) + 1000, np.maximum(mine, part.facts) + 1000, 7))
    return table[kinds] + 0.05 * spread * (kinds != VOCABULARY.index("self"))


def _scores(part: _Part, block: range, kind: Kind, estimator: str, kinds: npt.NDArray[np.int8]) -> Floats:
    """s(q) without noise."""
    if part.modality == "image":
        clean = replace(part, probes=[{**p, "kind": "sample"} for p in part.probes])
        near = _kinds(clean, block)
        return np.where(near == 0, 1.0, 0.4 * np.exp(-2 * _distances(clean, block, near)) * (near == -1))
    claimed = _IDEAL if kind != "realistic" else _PROMPTED if estimator == "in_context" else _REAL
    claimed = {**claimed, "negation": 1.0} if kind == "negation_blind" else claimed
    table = np.array([1.0 if name == "self" else claimed.get(name, 0.0) for name in VOCABULARY] + [0.0])
    if kind == "realistic":
        table[-1] = 0.03
    return table[kinds]


def _influence(part: _Part, block: range, kind: Kind, estimator: str, salt: int) -> Floats:
    """Nats of each (probe, query) of a block."""
    kinds = _kinds(part, block)
    key = np.array([int(part.probes[i]["probe_id"][:12], 16) for i in block])[:, None]
    mine = np.array([int(part.probes[i]["members"][0][:12], 16) for i in block])[:, None]
    theirs = np.array([int(query[:12], 16) for query in part.queries])[None, :]
    noise = _normal(np.broadcast_to(key, kinds.shape), np.broadcast_to(theirs, kinds.shape), salt)
    if kind == "null":
        return noise
    if kind in ("symmetric", "antisymmetric"):
        shared = _normal(np.minimum(mine, theirs), np.maximum(mine, theirs), salt)
        if kind == "antisymmetric":
            shared = shared * np.sign(mine - theirs)
        return np.where(mine == theirs, 2.0, shared)
    scores = _scores(part, block, kind, estimator, kinds)
    if part.modality == "image" and kind != "noise_blind":
        damage = np.array([part.probes[i]["level"] for i in block])[:, None]
        flipped = np.array([part.probes[i].get("family") == "label_flip" for i in block])[:, None]
        scores = np.where(flipped, -0.5 * scores, scores * (1 - (0.6 if kind == "realistic" else 0.0) * damage))
    if kind != "realistic":
        return 2.0 * scores
    strength = np.exp(0.7 + 0.4 * _normal(np.abs(key), np.zeros_like(key), 3))
    if part.modality == "text":
        strength = strength * np.where(_normal(key, key, salt + 1) > 1.9, 0.02, 1.0)  # some are hardly learned
    else:
        noise = noise * (0.5 + np.array([part.probes[i]["level"] for i in block])[:, None])
    return strength * (scores + 0.12 * np.abs(scores) ** 0.5 * noise) + 0.03 * noise


# --- rows ---


def _rows(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    schema = TABLES[name]
    return pa.Table.from_pylist([{key: row.get(key) for key in schema.names} for row in rows], schema=schema)


def _described(part: _Part) -> Iterator[tuple[str, pa.Table]]:
    """The tables of names: samples, probes, their members, the base and the recipes."""
    yield "samples", _rows("samples", part.samples)
    yield "probes", _rows("probes", part.probes)
    members = [
        {"probe_id": probe["probe_id"], "position": position, "sample_id": sample}
        for probe in part.probes
        for position, sample in enumerate(probe["members"])
    ]
    yield "probe_members", _rows("probe_members", members)
    base = {"base": part.base, "label": f"synthetic {part.modality} model", "modality": part.modality, "json": "{}"}
    yield "bases", _rows("bases", [base])
    recipes = [{"estimator": e, "recipe": recipe, "label": label, "json": "{}"} for e, recipe, label in part.arms]
    yield "recipes", _rows("recipes", recipes)


def _coded(values: list[str], codes: npt.NDArray[Any]) -> pa.Array:
    return cast("pa.Array", pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(values)))


def _pairs(part: _Part, block: range) -> dict[str, pa.Array]:
    shape = (len(block), len(part.queries))
    ids = [part.probes[i]["probe_id"] for i in block]
    return {
        "probe_id": _coded(ids, np.repeat(np.arange(shape[0]), shape[1])),
        "query_id": _coded(part.queries, np.tile(np.arange(shape[1]), shape[0])),
    }


def _relations(part: _Part, block: range, kind: Kind) -> pa.Table:
    kinds = _kinds(part, block)
    distances = _distances(part, block, kinds)
    if kind in ("ideal", "negation_blind", "noise_blind"):
        distances = 1.0 - np.abs(_scores(part, block, kind, "finetune", kinds))
    codes = kinds.reshape(-1)
    raw = np.array([part.probes[i].get("raw", np.nan) for i in block])[:, None]
    level = np.where(kinds == VOCABULARY.index("noisy"), raw, np.nan)
    level = np.where(kinds == VOCABULARY.index("entailed"), 1.0, level).reshape(-1)
    columns = {
        **_pairs(part, block),
        "kind": pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32), mask=codes < 0), pa.array(VOCABULARY)),
        "level": pa.array(level, mask=np.isnan(level)),
        "distance": pa.array(distances.reshape(-1).astype(np.float32)),
    }
    return pa.table(columns)


def _cells(part: _Part, block: range, arm: tuple[str, str, int], values: Floats) -> pa.Table:
    flat = values.reshape(-1)
    n = len(flat)
    zeros = np.zeros(n, dtype=np.int32)
    before = np.full(n, -6.0)
    columns = {
        "base": _coded([part.base], zeros),
        "estimator": _coded([arm[0]], zeros),
        "recipe": _coded([arm[1]], zeros),
        **_pairs(part, block),
        "seed": pa.array(np.full(n, arm[2], dtype=np.int64)),
        "influence": pa.array(flat),
        "logprob_before": pa.array(before),
        "logprob_after": pa.array(before + flat),
        "n_tokens": pa.array(zeros + (3 if part.modality == "text" else 1)),
        "rank_before": pa.array(zeros + 9),
        "rank_after": pa.array(np.clip(9 - 4 * flat, 1, 99).astype(np.int32)),
        "engine_version": _coded(["synthetic"], zeros),
    }
    return pa.table(columns)


def _outcomes(part: _Part, block: range, arm: tuple[str, str, int], salt: int) -> Iterator[tuple[str, pa.Table]]:
    if arm[0] != "finetune":
        return
    outcomes: list[dict[str, Any]] = []
    layers: list[dict[str, Any]] = []
    for i in block:
        probe = part.probes[i]
        cell = {"base": part.base, "estimator": arm[0], "recipe": arm[1], "probe_id": probe["probe_id"], "seed": arm[2]}
        draw = _normal(np.arange(8), np.full(8, i), salt)
        losses = list(3.0 * np.exp(-np.arange(10) / 4) + 0.05 * abs(draw[0]))
        outcomes.append({**cell, "status": "done", "losses": losses, "grad_norm": 1.0 + abs(draw[1]),
                         "update_norm": 0.5 + abs(draw[2]) / 4, "seconds": 0.01,
                         "engine_version": "synthetic"})  # fmt: skip
        for layer in range(LAYERS):
            for position, module in enumerate(("attn.q_proj", "mlp.up_proj") if part.modality == "text" else ("conv",)):
                size = (0.2 + 0.1 * layer) * np.exp(0.2 * draw[(2 * layer + position) % 8])
                layers.append({**cell, "parameter": f"layers.{layer}.{module}.weight", "layer": layer,
                               "update_norm": size, "relative_update": size / 8})  # fmt: skip
    yield "outcomes", _rows("outcomes", outcomes)
    yield "layer_updates", _rows("layer_updates", layers)


def _restorations(part: _Part, block: range, arm: tuple[str, str, int], values: Floats) -> pa.Table:
    """Undoing layer k takes (k + 1) tenths of the influence on the probe itself and on what it claims."""
    codes = _kinds(part, block)
    asked = {VOCABULARY.index(kind) for kind in ("self", "paraphrase", "negation", "entailed")}
    rows: list[dict[str, Any]] = []
    for row, i in enumerate(block):
        cell = {"base": part.base, "estimator": arm[0], "recipe": arm[1], "seed": arm[2],
                "probe_id": part.probes[i]["probe_id"], "engine_version": "synthetic"}  # fmt: skip
        for j in np.flatnonzero(np.isin(codes[row], list(asked))):
            for layer in range(LAYERS):
                lost = 0.1 * (layer + 1) * values[row, j]
                rows.append({**cell, "query_id": part.queries[j], "place": f"layer {layer}", "logprob_before": -6.0,
                             "logprob_after": -6.0 + values[row, j],
                             "logprob_restored": -6.0 + values[row, j] - lost})  # fmt: skip
    return _rows("restorations", rows)
