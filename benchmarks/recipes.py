"""Sweeps recipes for the embedded language model: is the probe learned, does it leak, is the model wrecked?

    python benchmarks/recipes.py --probes 28 --out sweep.md

For each recipe: mean influence by kind of query, leakage (median over unrelated queries of |influence| over the probe's
own), and the perplexity on held-out documents after training, relative to before (mean and worst over probes).
"""

from __future__ import annotations

import argparse
import logging
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from einfluence.curate import curate
from einfluence.embedded import data_folder
from einfluence.engine import measure
from einfluence.engine.encode import encode_text
from einfluence.engine.serial import train, trainable_copy
from einfluence.models.base import Base
from einfluence.models.language.evaluation import heldout_documents, perplexity
from einfluence.models.language.world import World
from einfluence.models.load import find_base, load_base
from einfluence.spec import Adapter, Facts, Part, Recipe, Spec

KINDS = (
    "self",
    "paraphrase",
    "negation",
    "double_negation",
    "entailed",
    "reversed",
    "contrapositive",
    "sibling",
    "unrelated",
)


def grid() -> list[Recipe]:
    """The recipes that are compared: LoRA with AdamW, and all parameters with SGD."""
    lora, full = Adapter(kind="lora", r=8, alpha=16), Adapter(kind="full")
    recipes = [
        Recipe(adapter=lora, optimizer="adamw", lr=lr, steps=n) for n in (4, 10) for lr in (5e-4, 1e-3, 2e-3, 4e-3)
    ]
    recipes += [
        Recipe(adapter=full, optimizer="sgd", lr=lr, steps=n) for n in (1, 5, 10) for lr in (3e-3, 1e-2, 3e-2, 1e-1)
    ]
    return recipes


def sweep(base: Base, world: World, recipes: list[Recipe], probes: int, seed: int = 0) -> list[dict[str, Any]]:
    """One row for each recipe; see the module's text for the columns."""
    part = Part(name="sweep", base="embedded:world", facts=Facts(probes=probes, seed=seed))
    made = curate(part, Spec(parts=(part,)))
    samples = {row["sample_id"]: row for row in made.samples.to_pylist()}
    members: dict[str, list[str]] = defaultdict(list)
    for row in made.probe_members.to_pylist():
        members[row["probe_id"]].append(row["sample_id"])
    kinds: dict[str, dict[str, str]] = defaultdict(dict)
    for row in made.relations.to_pylist():
        if row["kind"] in KINDS:
            kinds[row["probe_id"]][row["query_id"]] = row["kind"]
    chosen = [
        p for p, q in kinds.items() if len(members[p]) == 1 and "paraphrase" in q.values() and "negation" in q.values()
    ]
    queries = sorted({q for p in chosen for q in kinds[p]})

    def item(sample_id: str) -> Any:
        return encode_text(base, samples[sample_id]["prompt"], samples[sample_id]["target"], sample_id)

    query_items, probe_items = [item(q) for q in queries], [[item(s) for s in members[p]] for p in chosen]
    documents = heldout_documents(world, 48)
    before_ppl = perplexity(base.model, documents)  # type: ignore[arg-type]
    rows: list[dict[str, Any]] = []
    for recipe in recipes:
        before, results = measure(base, recipe, probe_items, query_items, 0)
        means: dict[str, list[float]] = defaultdict(list)
        leaks: list[float] = []
        ratios: list[float] = []
        failed = 0
        for index, _, after in results:
            if after is None:
                failed += 1
                continue
            change = dict(zip(queries, after.logprob - before.logprob, strict=True))
            by_kind: dict[str, list[float]] = defaultdict(list)
            for query, kind in kinds[chosen[index]].items():
                by_kind[kind].append(float(change[query]))
            for kind, values in by_kind.items():
                means[kind].append(float(np.mean(values)))
            leaks.append(float(np.median(np.abs(by_kind["unrelated"]))) / abs(by_kind["self"][0]))
            if index % 4 == 0:
                ratios.append(_perplexity_after(base, recipe, probe_items[index], documents) / before_ppl)
        row: dict[str, Any] = {"recipe": recipe, "failed": failed, "probes": len(chosen)}
        row |= {kind: _interval(values) for kind, values in means.items()}
        row |= {"leakage": float(np.median(leaks or [np.nan])), "perplexity": float(np.mean(ratios or [np.nan]))}
        row |= {"worst": float(np.max(ratios or [np.nan]))}
        rows.append(row)
        logging.info("%s", table([row]).splitlines()[-1])
    return rows


def _perplexity_after(base: Base, recipe: Recipe, probe: list[Any], documents: list[list[int]]) -> float:
    model, trained = trainable_copy(base, recipe, seed=0)
    tuned = train(base, recipe, probe, seed=0)
    with torch.no_grad():
        for name, value in tuned.delta.items():
            trained[name].copy_(value)
    return perplexity(model, documents)  # type: ignore[arg-type]


def _interval(values: list[float]) -> tuple[float, float]:
    """Mean and the half width of its 95 % interval (bootstrap over probes)."""
    draw = np.random.default_rng(0)
    means = np.mean(np.array(values)[draw.integers(0, len(values), (2000, len(values)))], axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(np.mean(values)), float(high - low) / 2


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    head = ["recipe", *KINDS, "leakage", "perplexity ×", "worst"]
    lines = ["| " + " | ".join(head).replace("_", " ") + " |", "|---" * len(head) + "|"]
    for row in rows:
        cells = ["{:+.2f} ± {:.2f}".format(*row[kind]) if kind in row else "" for kind in KINDS]
        failed = f" ({row['failed']} failed)" if row["failed"] else ""
        figures = [f"{row['leakage']:.1%}", f"{row['perplexity']:.3f}", f"{row['worst']:.3f}"]
        lines.append("| " + " | ".join([row["recipe"].label + failed, *cells, *figures]) + " |")
    return "\n".join(lines)


def main() -> None:
    """Runs the sweep and prints or writes its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--probes", type=int, default=28, help="probe facts, balanced over domains")
    parser.add_argument("--out", type=Path, help="write the table here instead of printing it")
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    base = load_base(find_base("embedded:world", "--base"))
    text = table(sweep(base, World(data_folder() / "facts" / "world.yaml"), grid(), chosen.probes))
    if chosen.out:
        chosen.out.write_text(text + "\n", encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
