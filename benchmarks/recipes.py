"""Sweeps recipes for the embedded language model: is the probe learned, does it leak, is the model wrecked?

    python benchmarks/recipes.py --probes 28 --out sweep.md
    python benchmarks/recipes.py --compare

For each recipe: mean influence by kind of query, leakage (median over unrelated queries of |influence| over the probe's
own), and the perplexity on held-out documents after training, relative to before (mean and worst over probes).
`--compare` sets the shipped recipes beside prompting, for newcomers and for known individuals given another category.
"""

from __future__ import annotations

import argparse
import logging
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from einfluence.bases.load import find_base, load_base
from einfluence.curate import curate
from einfluence.embedded import data_folder
from einfluence.engine import measure
from einfluence.engine.definition import train, trainable_copy
from einfluence.engine.measurement import TextItem
from einfluence.models.base import Base
from einfluence.objectives.causal_lm import encode_text
from einfluence.spec import AdamW, Facts, Full, Lora, Part, Recipe, Sgd, Spec
from pretraining.evaluation import heldout_documents, log_probs, perplexity
from pretraining.language import BEGIN, Fact, Language

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


COMPARED = ("self", "paraphrase", "negation", "conclusion", "inverse", "unrelated")
LORA, FULL = Lora(r=8, alpha=16), Full()
SHIPPED = {
    "LoRA, AdamW": Recipe(adapter=LORA, optimizer=AdamW(lr=5e-4), steps=10),
    "all parameters, SGD": Recipe(adapter=FULL, optimizer=Sgd(lr=3e-3), steps=5),
}
"""The recipes of the default run."""


def grid() -> list[Recipe]:
    """The recipes that are compared: LoRA with AdamW, and all parameters with SGD."""
    recipes = [
        Recipe(adapter=LORA, optimizer=AdamW(lr=lr), steps=n) for n in (4, 10) for lr in (3e-4, 5e-4, 1e-3, 2e-3)
    ]
    recipes += [Recipe(adapter=FULL, optimizer=Sgd(lr=lr), steps=n) for n in (1, 5) for lr in (1e-3, 3e-3, 1e-2, 3e-2)]
    return recipes


def sweep(base: Base, language: Language, recipes: list[Recipe], probes: int, seed: int = 0) -> list[dict[str, Any]]:
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
    documents = heldout_documents(language, 48)
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


def compare(base: Base, language: Language, recipes: dict[str, Recipe], count: int) -> list[list[str]]:
    """Mean influence by kind of query: rows of (subjects, way of telling, probes, one cell for each kind)."""
    rows: list[list[str]] = []
    pairs = dict(language.pairs)
    told = [fact for fact in language.probes if (pairs.get(fact[1], ""), fact[2]) in language.value_of]
    stored = [fact for fact in language.stored if fact[1] in pairs]
    draw = random.Random(0)
    known: list[Fact] = []
    for subject, relation, category in draw.sample(stored, min(count, len(stored))):
        others = [
            c
            for c in language.relations[relation].objects
            if (pairs[relation], c) in language.value_of and c != category
        ]
        known.append((subject, relation, draw.choice(others)))
    for title, facts in (("newcomers", draw.sample(told, min(count, len(told)))), ("known, told otherwise", known)):
        asked: list[tuple[int, str, list[int]]] = []
        for index, fact in enumerate(facts):
            asked += [(index, kind, sentence) for kind, sentence in _asked(language, fact, pairs)]
        sentences = [sentence for _, _, sentence in asked]
        probes = [[TextItem((BEGIN, *language.relations[r].positive[0].fill([s], [o])), 1)] for s, r, o in facts]
        items = [TextItem((BEGIN, *sentence), 1) for sentence in sentences]
        for name, recipe in recipes.items():
            before, results = measure(base, recipe, probes, items, 0)
            change = np.stack([after.logprob - before.logprob for _, _, after in results if after is not None])
            rows.append([title, name, str(len(facts)), *_cells(language, facts, asked, change)])
        prompts = [[BEGIN, *sentence[:-1]] for sentence in sentences]
        targets = torch.tensor([sentence[-1] for sentence in sentences])[:, None]
        plain = log_probs(base.model, prompts).gather(1, targets)[:, 0]  # type: ignore[arg-type]
        change = np.zeros((len(facts), len(sentences)))
        for index, [probe] in enumerate(probes):
            near = [n for n, (owner, _, _) in enumerate(asked) if owner == index or (owner + n) % 5 == 0]
            told_first = [[*probe.ids, language.stop, *prompts[n][1:]] for n in near]
            after = log_probs(base.model, told_first).gather(1, targets[near])[:, 0]  # type: ignore[arg-type]
            change[index] = np.nan
            change[index, near] = (after - plain[near]).numpy()
        rows.append([title, "in the prompt", str(len(facts)), *_cells(language, facts, asked, change)])
    return rows


def _asked(language: Language, fact: Fact, pairs: dict[str, str]) -> list[tuple[str, list[int]]]:
    subject, name, thing = fact
    relation, second = language.relations[name], language.relations[pairs[name]]
    value = language.value_of[second.name, thing]
    found = [("paraphrase", template) for template in relation.positive[1:]]
    found = [("self", relation.positive[0]), *found, ("negation", relation.negative), ("inverse", relation.reversed)]
    made = [(kind, template.fill([subject], [thing])) for kind, template in found]
    return [*made, ("conclusion", second.positive[0].fill([subject], [value]))]


def _cells(
    language: Language, facts: list[Fact], asked: list[tuple[int, str, list[int]]], change: np.ndarray
) -> list[str]:
    """Mean ± half width for each kind; unrelated are the queries about facts of other domains."""
    domains = [language.relations[name].domain for _, name, _ in facts]
    cells: list[str] = []
    for kind in COMPARED:
        means: list[float] = []
        for index, domain in enumerate(domains):
            columns = [n for n, (owner, k, _) in enumerate(asked) if owner == index and k == kind]
            if kind == "unrelated":
                columns = [n for n, (owner, k, _) in enumerate(asked) if domains[owner] != domain and k != "conclusion"]
            means.append(float(np.nanmean(change[index, columns])))
        cells.append("{:+.2f} ± {:.2f}".format(*_interval(means)))
    return cells


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
    parser.add_argument("--compare", action="store_true", help="fine-tuning beside prompting, with the shipped recipes")
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    base = load_base(find_base("embedded:world", "--base"))
    language = Language(data_folder() / "facts" / "world.yaml")
    if chosen.compare:
        lines = [["subjects", "told by", "probes", *COMPARED], ["---"] * (3 + len(COMPARED))]
        text = "\n".join(
            "| " + " | ".join(row) + " |" for row in lines + compare(base, language, SHIPPED, chosen.probes)
        )
    else:
        text = table(sweep(base, language, grid(), chosen.probes))
    if chosen.out:
        chosen.out.write_text(text + "\n", encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
