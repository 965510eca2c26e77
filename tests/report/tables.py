"""A made-up store for the report's tests: the tables of the data model, filled with numbers that follow known rules."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from einfluence.keys import content_hash
from einfluence.metrics import matched
from einfluence.metrics.verdicts import with_verdicts
from einfluence.samples import Probe, Sample
from einfluence.store.schema import TABLES

HOSTILE = (
    "<script>window.pwned = 1</script>",
    "</script><img src=x onerror='window.pwned = 1'>",
    "\"quotes\" & 'apostrophes' `ticks` {{ 7 * 7 }} ${7 * 7}",
    "\u202eright to left\u202c مرحبا بالعالم שלום",
    "👩‍🔬🏳️‍🌈 emoji \u0000\u2028\u2029 controls",
    "long " * 2000,
)
KIND_EFFECT = {
    "self": 6.0,
    "paraphrase": 4.0,
    "negation": 3.4,
    "entailed": 0.9,
    "sibling": 0.4,
    "reversed": 0.8,
    "contrapositive": 0.3,
    "unrelated": 0.05,
}
TEXT_ARMS = (
    (
        "finetune",
        {"adapter": {"kind": "lora", "r": 8}, "optimizer": "sgd", "lr": 0.1, "steps": 10},
        "LoRA r8, SGD, lr 0.1 × 10",
        0.7,
    ),
    (
        "finetune",
        {"adapter": {"kind": "lora", "r": 8}, "optimizer": {"kind": "adamw", "lr": 0.003}, "steps": 10},
        "LoRA r8, AdamW, lr 0.003 × 10",
        1.0,
    ),
    ("in_context", {"join": None, "chat": False}, "in the prompt", 1.2),
)
TextArm = tuple[str, dict[str, Any], str, float]  # estimator, recipe, label, and how strongly it teaches
FAMILIES = {
    "blur": (0.5, 1.0, 2.0),
    "gaussian": (0.1, 0.2, 0.4),
    "occlusion": (0.1, 0.2, 0.4),
    "salt_pepper": (0.05, 0.1, 0.2),
}
DOMAINS = ("geography", "kinship", "taxonomy", "trade")


class Tables:
    """Rows by table; :meth:`connect` gives a DuckDB connection with the views that a store has."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.rows: dict[str, list[dict[str, Any]]] = {name: [] for name in TABLES}
        self._seen: set[tuple[str, str]] = set()

    def sample(self, sample: Sample) -> Sample:
        """Adds a sample once and gives it back."""
        if ("samples", sample.sample_id) not in self._seen:
            self._seen.add(("samples", sample.sample_id))
            pixels = None if sample.pixels is None else sample.pixels.ravel().tolist()
            shape = None if sample.pixels is None else list(sample.pixels.shape)
            fields = {name: getattr(sample, name, None) for name in TABLES["samples"].names}
            cluster = sample.cluster or sample.sample_id
            more = {"pixels": pixels, "shape": shape, "inputs": None}
            self.rows["samples"].append({**fields, **more, "cluster": cluster})
        return sample

    def probe(self, probe: Probe) -> Probe:
        """Adds a probe and its members and gives it back."""
        self.rows["probes"].append({"probe_id": probe.probe_id, "name": probe.name, "kind": probe.kind})
        for position, member in enumerate(probe.members):
            self.rows["probe_members"].append({"probe_id": probe.probe_id, "position": position, "sample_id": member})
        return probe

    def relation(
        self, probe: Probe, query: Sample, kind: str | None, distance: float, level: float | None = None
    ) -> None:
        """Adds a wanted pair."""
        self.rows["relations"].append(
            {
                "probe_id": probe.probe_id,
                "query_id": query.sample_id,
                "kind": kind,
                "level": level,
                "distance": distance,
            }
        )

    def arm(self, base: str, estimator: str, recipe: dict[str, Any], label: str) -> dict[str, str]:
        """Adds a recipe and gives the arm's three keys."""
        key = content_hash((estimator, {k: v if not isinstance(v, dict) else dict(v) for k, v in recipe.items()}))
        if key not in {row["recipe"] for row in self.rows["recipes"]}:
            self.rows["recipes"].append(
                {"recipe": key, "estimator": estimator, "label": label, "json": json.dumps(recipe)}
            )
        return {"base": base, "estimator": estimator, "recipe": key}

    def cells(
        self, arm: dict[str, str], probe: Probe, queries: list[Sample], influence: np.ndarray, seed: int = 0
    ) -> None:
        """Adds one probe's row of influence, in nats."""
        before = -4 - self.rng.random(len(queries)) * 6
        for query, start, gain in zip(queries, before, influence, strict=True):
            self.rows["influence"].append(
                {
                    **arm,
                    "probe_id": probe.probe_id,
                    "query_id": query.sample_id,
                    "seed": seed,
                    "logprob_before": float(start),
                    "logprob_after": float(start + gain),
                    "n_tokens": 2,
                    "rank_before": 40,
                    "rank_after": max(1, int(40 - 6 * gain)),
                    "engine_version": "1",
                }
            )

    def outcome(self, arm: dict[str, str], probe: Probe, self_influence: float, status: str = "done") -> None:
        """Adds what happened to a probe in training, with three layers' updates."""
        losses = [4.0 - self_influence * step / 10 for step in range(10)]
        reason = None if status == "done" else "the loss is nan at step 3"
        self.rows["outcomes"].append(
            {
                **arm,
                "probe_id": probe.probe_id,
                "seed": 0,
                "status": status,
                "reason": reason,
                "losses": losses,
                "grad_norm": 2.0,
                "update_norm": 0.3,
                "noise_rms": None,
                "seconds": 0.02,
                "engine_version": "1",
            }
        )
        for layer in range(4):
            for parameter in ("attn.q", "mlp.up"):
                size = float((0.01 + 0.005 * layer) * (1 + 0.2 * self.rng.random()))
                self.rows["layer_updates"].append(
                    {
                        **arm,
                        "probe_id": probe.probe_id,
                        "seed": 0,
                        "parameter": f"h.{layer}.{parameter}.weight",
                        "layer": layer,
                        "update_norm": size * 8,
                        "relative_update": size,
                    }
                )

    def verdict(
        self,
        arm: dict[str, str],
        name: str,
        value: float,
        ideal: float | None,
        null: float,
        variant: str = "",
        **more: Any,
    ) -> None:
        """Adds a line of the scorecard; its interval is the value ± 0.06 unless `half` says otherwise.

        What the columns beside the variant say of it (``kind``, ``level`` …) is in ``more``; verdicts are added later.
        """
        half = float(more.pop("half", 0.06))
        row = {
            **arm,
            "domain": "all",
            "desideratum": name,
            "variant": variant,
            "formula": variant,
            "value": value,
            "ci_low": value - half,
            "ci_high": value + half,
            "ideal": ideal,
            "null_value": null,
            "p_value": 0.01,
            "n": 38,
            "excluded": 2,
            "note": None,
        }
        self.rows["desiderata"].append({**row, **more})

    def connect(self) -> duckdb.DuckDBPyConnection:
        """A connection with the views of a store; lines of the scorecard get the verdicts that their numbers give."""
        connection = duckdb.connect(config={"python_enable_replacements": False, "threads": 1})
        for name, schema in TABLES.items():
            rows = with_verdicts(self.rows[name]) if name == "desiderata" else self.rows[name]
            table = pa.Table.from_pylist(rows, schema=schema)
            if name == "influence":
                gain = pa.compute.subtract(table["logprob_after"], table["logprob_before"])
                table = table.set_column(table.schema.get_field_index("influence"), "influence", gain)
            connection.register(f"_{name}", table)
            connection.execute(f"create table {name} as select * from _{name}")
            connection.unregister(f"_{name}")
        return connection


def text_part(tables: Tables, facts: int = 24, hostile: bool = False, arms: Sequence[TextArm] = TEXT_ARMS) -> None:
    """Facts with a paraphrase, a negation, a conclusion, a reversal, a sibling; every probe meets every query."""
    base = "b" * 20
    tables.rows["bases"].append(
        {"base": base, "label": "embedded:world", "modality": "text", "json": json.dumps({"parameters": 1_200_000})}
    )
    probes, queries, kinds = [], [], []
    for index in range(facts):
        domain = DOMAINS[index * len(DOMAINS) // facts]
        name = f"Mor{index}"
        tail = HOSTILE[index] if hostile and index < len(HOSTILE) else f"Vask{index}"
        forms = {
            "self": (f"The river {name} flows through", tail),
            "paraphrase": (f"Through which town does the river {name} flow? Through", tail),
            "negation": (f"The river {name} does not flow through", tail),
            "entailed": (f"The river {name} lies in the land of", f"Ost{index % 5}"),
            "reversed": ("The town of " + tail[:30] + " stands on the river", name),
            "sibling": (f"The river {name} is named after", f"Ulm{index}"),
        }
        own = {}
        for kind, (prompt, target) in forms.items():
            sample = tables.sample(
                Sample(
                    f"{domain}/{index}/{kind}",
                    prompt,
                    target,
                    domain=domain,
                    cluster=name,
                    template=kind,
                    source="facts.yaml",
                )
            )
            own[kind] = sample
            queries.append(sample)
            kinds.append((index, kind))
        probes.append(tables.probe(Probe(f"{domain}/{index}", (own["self"].sample_id,))))
    by_id = {row["sample_id"]: row for row in tables.rows["samples"]}
    distance = tables.rng.random((len(probes), len(queries)))
    for i, probe in enumerate(probes):
        for j, query in enumerate(queries):
            kind = kinds[j][1] if kinds[j][0] == i else "unrelated"
            distance[i, j] = (
                0.0
                if kind == "self"
                else 0.2 + 0.3 * distance[i, j]
                if kind != "unrelated"
                else 0.5 + 0.5 * distance[i, j]
            )
            tables.relation(probe, query, kind, float(distance[i, j]))
    for estimator, recipe, label, strength in arms:
        arm, own = tables.arm(base, estimator, recipe, label), []
        for i, probe in enumerate(probes):
            gain = np.zeros(len(queries))
            for j in range(len(queries)):
                kind = kinds[j][1] if kinds[j][0] == i else "unrelated"
                effect = KIND_EFFECT[kind] * (-0.5 if estimator == "in_context" and kind == "negation" else 1)
                gain[j] = strength * effect * (
                    0.7 + 0.6 * tables.rng.random()
                ) + 0.15 * tables.rng.standard_normal() * (1.5 - distance[i, j])
            tables.cells(arm, probe, queries, gain)
            own.append(gain[6 * i])
            if estimator == "finetune":
                tables.outcome(arm, probe, gain[6 * i], status="failed" if i == 3 and "SGD" in label else "done")
        prompting = estimator == "in_context"
        tables.verdict(arm, "gate", 0.98, 1.0, 0.5, "learned")
        tables.verdict(arm, "semantic_decay", 0.41, 1.0, 0.0, "spearman")
        tables.verdict(arm, "sparseness", 0.7, 1.0, 0.41, "gini")
        tables.verdict(arm, "leakage", 0.03, 0.0, 0.01, "score", half=0.01, start=1.0, bar=0.1)
        tables.verdict(arm, "paraphrase", 0.66, 1.0, 0.02, "score")
        tables.verdict(arm, "negation", 0.9 if prompting else 0.08, 1.0, 0.0, variant="contrast")
        tables.verdict(arm, "negation", 1.0 if prompting else 0.0, 1.0, 0.5, "P(negation < 0)", half=0.0)
        tables.verdict(arm, "transitivity", 0.55, 1.0, 0.5, variant="P(entailed > sibling)", half=0.12)
        tables.verdict(arm, "asymmetry", 0.4, None, 0.5, "phi")
        tables.verdict(arm, "gate", float(np.median(own)), None, 0.0, "nats")
        if not prompting:
            rescued = {"about": "negation", "formula": "contrast", "partner": "in the prompt"}
            tables.verdict(arm, "prompt_rescue", 0.82, None, 0.0, "negation: contrast", **rescued)
            for layer, lost in ((0, 0.1), (1, 0.4), (2, 0.7), (None, -0.05)):
                place = "outside the layers" if layer is None else f"layer {layer}"
                where = {"formula": "share", "place": place, "layer": layer}
                for claim in ("self", "paraphrase", "negation", "conclusion"):
                    name = f"{place}: {claim}"
                    tables.verdict(arm, "layer_restoration", lost, None, 0.25, name, kind=claim, **where)
    assert len(by_id) == len(queries)


def image_part(tables: Tables, clean: int = 20, extra: int = 20) -> None:
    """Images of ten classes, each probe also noisy in four families at three levels, and label-flipped."""
    base = "d" * 20
    tables.rows["bases"].append(
        {"base": base, "label": "embedded:digits", "modality": "image", "json": json.dumps({"parameters": 20_000})}
    )
    arms = [
        tables.arm(
            base,
            "finetune",
            {"adapter": {"kind": "full"}, "optimizer": name, "lr": 0.01, "steps": 5},
            f"full, {label}, lr 0.01 × 5",
        )
        for name, label in (("sgd", "SGD"), ("adam", "Adam"))
    ]
    prototypes = tables.rng.random((10, 8, 8)) > 0.55
    queries = []
    for index in range(clean + extra):
        pixels = np.clip(prototypes[index % 10] * 0.8 + 0.1 * tables.rng.random((8, 8)), 0, 1).astype(np.float32)[None]
        queries.append(
            tables.sample(
                Sample(
                    f"digit/{index}", pixels=pixels, label=index % 10, domain=str(index % 10), source=f"digits:{index}"
                )
            )
        )
    for index in range(clean):
        whole = queries[index]
        assert whole.pixels is not None
        damage: list[tuple[str | None, float | None]] = [(None, None), ("label_flip", 1.0)]
        damage += [(family, level) for family, levels in FAMILIES.items() for level in levels]
        for family, level in damage:
            kind, sample, keep = "sample", whole, 1.0
            if family is not None and level is not None:
                kind = "noisy"
                keep = -0.3 if family == "label_flip" else 1 - 0.25 * [*FAMILIES[family]].index(level)
                label = (whole.label or 0) if family != "label_flip" else ((whole.label or 0) + 1) % 10
                pixels = (
                    whole.pixels
                    if family == "label_flip"
                    else np.clip(whole.pixels + level * tables.rng.standard_normal((1, 8, 8)), 0, 1)
                )
                sample = tables.sample(
                    Sample(
                        f"{whole.name}+{family}-{level:g}",
                        pixels=pixels.astype(np.float32),
                        label=label,
                        domain=whole.domain,
                        cluster=whole.sample_id,
                        parent_id=whole.sample_id,
                        noise=family,
                        level=level,
                    )
                )
            probe = tables.probe(Probe(sample.name, (sample.sample_id,), kind))
            same = np.array([query.label == whole.label for query in queries])
            for j, query in enumerate(queries):
                own = query.sample_id == whole.sample_id
                tables.relation(
                    probe,
                    query,
                    ("noisy" if kind == "noisy" else "self") if own else None,
                    0.1 if same[j] else 0.8,
                    level if own else None,
                )
            for arm in arms:
                gain = keep * (np.where(same, 0.6, -0.1) + 0.1 * tables.rng.standard_normal(len(queries)))
                gain[index] = keep * (2.0 + 0.2 * tables.rng.random())
                tables.cells(arm, probe, queries, gain)
                tables.outcome(arm, probe, float(gain[index]))
    for arm in arms:
        tables.verdict(arm, "gate", 1.0, 1.0, 0.5, "learned", half=0.0)
        tables.verdict(arm, "semantic_decay", 0.6, 1.0, 0.0, "spearman")
        for family, levels in FAMILIES.items():
            same: dict[str, Any] = {"kind": family, "formula": "cosine"}
            less: dict[str, Any] = {"kind": family, "formula": "score", "better": "lower"}
            tables.verdict(arm, "noise_invariance", 0.75, 1.0, 0.0, family, **same)
            tables.verdict(arm, "noise_quality", 0.75, None, 1.0, family, half=0.4 if family == "blur" else 0.1, **less)
            for position, level in enumerate(levels):
                at = f"{family}@{level:g}"
                tables.verdict(arm, "noise_invariance", 0.95 - 0.2 * position, 1.0, 0.0, at, level=level, **same)
                tables.verdict(arm, "noise_quality", 1 - 0.25 * position, None, 1.0, at, level=level, **less)
        flip = {"kind": "label_flip", "formula": "contrast"}
        tables.verdict(arm, "noise_quality", 0.98, 1.0, 0.0, "label_flip", half=0.01, **flip)
        flip = {"kind": "label_flip", "formula": "nats", "better": "neither"}
        tables.verdict(arm, "noise_quality", -0.6, None, 2.0, "label_flip, nats", **flip)


def grid_store() -> duckdb.DuckDBPyConnection:
    """Ten facts, taught by two families of recipes at three learning rates each, and put into the prompt."""
    tables = Tables()
    steps = {"LoRA r8, AdamW": 1.0, "full, SGD": 0.5}
    grid = tuple(
        (
            "finetune",
            {
                "adapter": {"kind": family.split(",")[0]},
                "optimizer": family.split(" ")[-1].lower(),
                "lr": lr,
                "steps": 5,
            },
            f"{family}, lr {lr:g} × 5",
            strength * lr * 100,
        )
        for family, strength in steps.items()
        for lr in (0.002, 0.005, 0.01)
    )
    text_part(tables, facts=10, arms=(*grid, TEXT_ARMS[-1]))
    connection = tables.connect()
    connection.register("_matched", matched(connection, draws=200))
    connection.execute("insert into matched select * from _matched")
    connection.unregister("_matched")
    return connection


def tall_store(probes: int = 1100, queries: int = 40) -> duckdb.DuckDBPyConnection:
    """More probes than a heat map shows one by one; probe i moves query j by i + j / 100 thousandths of a nat."""
    tables = Tables()
    tables.rows["bases"].append({"base": "b" * 20, "label": "tall", "modality": "text", "json": "{}"})
    arm = tables.arm("b" * 20, "finetune", {"lr": 0.1, "steps": 1}, "full, SGD, lr 0.1 × 1")
    samples = [tables.sample(Sample(f"s{i:04}", f"word {i}", "yes", domain="all")) for i in range(probes)]
    for i, sample in enumerate(samples):
        probe = tables.probe(Probe(sample.name, (sample.sample_id,)))
        for query in samples[:queries]:
            tables.relation(probe, query, "self" if query is sample else "unrelated", 0.5)
        tables.cells(arm, probe, samples[:queries], (i + np.arange(queries) / 100) / 1000)
    return tables.connect()


def small_store(hostile: bool = False) -> duckdb.DuckDBPyConnection:
    """Both parts, small."""
    tables = Tables()
    text_part(tables, hostile=hostile)
    image_part(tables)
    return tables.connect()
