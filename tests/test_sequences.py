"""Probes whose samples are trained one after the other are planned and measured in that order."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import einfluence
from einfluence.estimate import estimate
from einfluence.spec import load_spec

TEXTS = {
    "a": ("dax is a", "bird"),
    "b": ("wug is a", "fish"),
    "c": ("dax has", "wings"),
    "d": ("the king owns", "gold"),
}
PROBES = [
    {"id": "ab", "samples": ["a", "b"], "kind": "sequence"},
    {"id": "ba", "samples": ["b", "a"], "kind": "sequence"},
    {"id": "both", "samples": ["a", "b"]},
    {"id": "a alone", "samples": ["a"]},
]
RECIPE = {"adapter": "full", "optimizer": "sgd", "lr": 0.5, "steps": 2}


def write(folder: Path, base: Path, **arm: object) -> Path:
    rows = [{"id": name, "prompt": prompt, "target": target} for name, (prompt, target) in TEXTS.items()]
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "probes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in PROBES))
    (folder / "relations.csv").write_text("probe,query,kind\nab,c,paraphrase\nba,c,paraphrase\nboth,c,paraphrase\n")
    files = {"samples": "samples.jsonl", "probes": "probes.jsonl", "relations": "relations.csv"}
    (folder / "spec.yaml").write_text(json.dumps({"base": str(base), **files, "arms": [{"recipe": RECIPE, **arm}]}))
    return folder / "spec.yaml"


def learnt(store: einfluence.Store) -> dict[str, list[float]]:
    with store.connect() as connection:
        query = "select name, logprob_after from influence join probes using (probe_id) order by name, query_id"
        rows = connection.execute(query).fetchall()
    return {name: [value for other, value in rows if other == name] for name, _ in rows}


def test_a_sequence_is_planned_and_measured_and_its_layers_are_left_alone(tmp_path: Path, gpt2_folder: Path) -> None:
    spec, store = write(tmp_path, gpt2_folder, restore=4), einfluence.Store(tmp_path / "store")
    (planned,) = estimate(load_spec(spec), store).rows
    result = einfluence.measure(spec, store, report=False)
    assert (planned.missing, planned.probes) == (result.computed, 4) and not result.failed
    found = learnt(store)
    for one, other in combinations(("ab", "ba", "both"), 2):
        assert max(abs(a - b) for a, b in zip(found[one], found[other], strict=True)) > 1e-3
    undone = "select distinct name from restorations join probes using (probe_id)"  # of single samples alone
    assert store.connect().execute(undone).fetchall() == [("a alone",)]
    assert result.computed == 4 * 4 + 1 and estimate(load_spec(spec), store).rows[0].missing == 0


def test_a_sequence_is_what_the_definition_makes_of_it(tmp_path: Path, gpt2_folder: Path) -> None:
    stores = [einfluence.Store(tmp_path / engine) for engine in ("auto", "serial")]
    for store, engine in zip(stores, ("auto", "serial"), strict=True):
        einfluence.measure(write(tmp_path, gpt2_folder, engine=engine), store, report=False)
    fast, slow = map(learnt, stores)
    assert fast.keys() == slow.keys() == {"ab", "ba", "both", "a alone"}
    for name in fast:
        assert max(abs(a - b) for a, b in zip(fast[name], slow[name], strict=True)) < 1e-4
