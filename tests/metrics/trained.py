"""Stores in memory with trainings of a set, of numbers given by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from einfluence.store.schema import TABLES
from einfluence.store.views import DERIVED, OF_SCORES, create

Scores = Mapping[str, float]  # log-probability by query
Cells = Mapping[tuple[str, str], float]


def trained_store(
    members: Sequence[str],
    *,
    full: Scores | None = None,
    watched: Mapping[int, Scores] | None = None,
    subsets: Mapping[str, Scores] | Mapping[int, Mapping[str, Scores]] | None = None,
    cells: Mapping[str, Cells] | None = None,
    samples: Mapping[str, Mapping[str, Any]] | None = None,
    ranks: Mapping[tuple[str, str], tuple[int, int]] | None = None,
    claims: Mapping[tuple[str, str], str] | None = None,
    modality: str = "text",
) -> duckdb.DuckDBPyConnection:
    """A store with one training set, whose samples are single letters and each a probe by itself.

    Args:
        members: The set's samples, in order.
        full: What the training on all says.
        watched: What it said before its end, by step.
        subsets: What trainings say, by the letters of the samples that they had; or that by seed. A query is in the
            first rank from -1 nat up.
        cells: Influence by (probe, query) of each arm: ``leave_one_out`` and ``subsets`` are within the set, another
            estimator is not, unless it ends in ``!``: then it stands for leave-one-out. Of ``data_value 1!`` a fifth.
        samples: What the table says of a sample.
        ranks: Of (probe, query) of leave-one-out, before and after.
        claims: Kinds of relation.
        modality: Of the base.
    """
    described, arms = samples or {}, cells or {}
    queries = dict.fromkeys(query for each in arms.values() for _, query in each)
    names = list(dict.fromkeys([*members, *queries, *described]))
    by_seed = {0: subsets or {}} if not subsets or isinstance(next(iter(subsets)), str) else subsets
    tables: dict[str, list[dict[str, Any]]] = {
        "samples": [{"sample_id": name, "name": name, "modality": modality, "cluster": name, **described.get(name, {})}
                    for name in names],
        "probes": [{"probe_id": f"p:{name}", "name": name, "kind": "sample"} for name in members],
        "probe_members": [{"probe_id": f"p:{name}", "position": 0, "sample_id": name} for name in members],
        "relations": [{"probe_id": f"p:{probe}", "query_id": query, "kind": (claims or {}).get((probe, query))}
                      for probe in members for query in names],
        "bases": [{"base": "b", "label": "b", "modality": modality, "json": "{}"}],
        "training_sets": [{"training_set": "set", "samples": len(members), "label": "1 epoch", "json": "{}"}],
        "training_set_members": [{"training_set": "set", "position": place, "sample_id": name}
                                 for place, name in enumerate(members)],
    }  # fmt: skip
    tables["recipes"] = [_recipe(arm) for arm in arms]
    tables["influence"] = [
        _cell(arm.rstrip("!"), probe, query, value, (ranks or {}).get((probe, query)))
        for arm, each in arms.items()
        for (probe, query), value in each.items()
    ]
    for name in ("trainings", "training_weights", "training_scores"):
        tables[name] = []
    if full is not None:
        _add(tables, "full", members, members, "", full, 0)
    for step, said in (watched or {}).items():
        _add(tables, "watched", members, members, str(step), said, 0)
    for seed, each in by_seed.items():
        for number, (had, scores) in enumerate(each.items()):
            _add(tables, "subset", members, had, str(number), scores, seed)
    tables["training_weights"] = [dict(row) for row in {tuple(row.items()) for row in tables["training_weights"]}]
    connection = duckdb.connect(config={"python_enable_replacements": False, "threads": 1})
    for name, schema in TABLES.items():
        if name not in (*DERIVED, *OF_SCORES):
            connection.from_arrow(pa.Table.from_pylist(tables.get(name, []), schema=schema)).create(name)
    for name in (*DERIVED, *OF_SCORES):
        create(connection, name)
    return connection


def _recipe(arm: str) -> dict[str, Any]:
    name, _, fifth = arm.rstrip("!").partition(" ")
    within = {"training_set": "set", "trainings": "way"} if name in ("leave_one_out", "subsets") else {}
    about = '{"count": 1000, "share": 0.5, "ridge": 1e-6}' if name == "subsets" else f'{{"fifth": {fifth or "null"}}}'
    truth = "leave_one_out" if arm.endswith("!") else None
    recipe = arm.rstrip("!")
    return {"recipe": recipe, "estimator": name, "label": recipe, "json": about, "stands_for": truth, **within}


def _cell(arm: str, probe: str, query: str, value: float, ranks: tuple[int, int] | None) -> dict[str, Any]:
    before, after = ranks or (None, None)
    return {"base": "b", "estimator": arm.split()[0], "recipe": arm, "probe_id": f"p:{probe}", "query_id": query,
            "seed": 0, "influence": value, "n_tokens": 1, "rank_before": before, "rank_after": after}  # fmt: skip


def _add(
    tables: dict[str, list[dict[str, Any]]], kind: str, members: Sequence[str], had: Sequence[str], about: str,
    scores: Scores, seed: int,
) -> None:  # fmt: skip
    training = f"{kind}:{''.join(had)}" + (f":{about}" if kind == "watched" else "")
    key = {"base": "b", "recipe": "way", "seed": seed, "training": training}
    done = {"training_set": "set", "kind": kind, "about": about, "status": "done", "engine_version": "1"}
    tables["trainings"].append({**key, **done})
    tables["training_weights"] += [
        {"training": training, "position": place, "weight": 0.0}
        for place, name in enumerate(members)
        if name not in had
    ]
    tables["training_scores"] += [
        {
            **key,
            "step": int(about) if kind == "watched" else None,
            "query_id": query,
            "logprob": value,
            "engine_version": "1",
            "rank": 1 if value >= -1 else 2,
            "n_tokens": 1,
        }
        for query, value in scores.items()
    ]


def remove(
    store: duckdb.DuckDBPyConnection, members: Sequence[str], gone: str, said: Scores, **about: Any
) -> None:  # fmt: skip
    """Adds the training without some of the samples, and the action that made it; any other training will do as well.

    Args:
        store: From :func:`trained_store`, with a training on all.
        members: The set's samples, in order.
        gone: The letters of those left out.
        said: What the training says.
        about: Columns of the action beside those of the training; `seed` also counts for the training.
    """
    tables: dict[str, list[dict[str, Any]]] = {
        name: [] for name in ("trainings", "training_weights", "training_scores")
    }
    had = [name for name in members if name not in gone]
    _add(tables, "removed", members, had, "", said, about.get("seed", 0))
    [training] = tables["trainings"]
    tables["actions"] = [
        {
            "base": "b", "recipe": "way", "seed": 0, "training_set": "set", "action": "one", "kind": "remove",
            "training": training["training"], "reference": f"full:{''.join(members)}", "json": "{}", **about,
        }
    ]  # fmt: skip
    for name, rows in tables.items():
        store.from_arrow(pa.Table.from_pylist(rows, TABLES[name])).insert_into(name)


def unlearn(
    store: duckdb.DuckDBPyConnection, members: Sequence[str], gone: str, said: Scores, retrained: Scores,
    again: Scores | None = None, **about: Any,
) -> None:  # fmt: skip
    """Adds an unlearning of some of the samples, the training without them, and perhaps that at seed 1.

    Args:
        store: From :func:`trained_store`, with a training on all.
        members: The set's samples, in order.
        gone: The letters of the forget set.
        said: What the unlearned model says.
        retrained: What the training without them says.
        again: The same at seed 1.
        about: Columns of the action beside those of the training.
    """
    tables: dict[str, list[dict[str, Any]]] = {}

    def add(name: str, kind: str, had: Sequence[str], scores: Scores, seed: int) -> None:
        made: dict[str, list[dict[str, Any]]] = {
            table: [] for table in ("trainings", "training_weights", "training_scores")
        }
        _add(made, kind, members, had, "", scores, seed)
        for table, rows in made.items():
            known = tables.setdefault(table, [])
            known += [row for row in ({**each, "training": name} for each in rows) if row not in known]

    reference, name = f"{gone}, removed", f"{gone}, unlearned by {about['method']}"
    known = store.execute("select 1 from trainings where training = $1", [reference]).fetchall()
    for seed, scores in enumerate((retrained, *([] if again is None else [again])) if not known else ()):
        add(reference, "removed", [each for each in members if each not in gone], scores, seed)
    add(name, "unlearned", members, said, 0)
    tables["actions"] = [
        {
            "base": "b", "recipe": "way", "seed": 0, "training_set": "set", "action": "one", "kind": "unlearn",
            "training": name, "reference": reference, "json": "{}", **about,
        }
    ]  # fmt: skip
    for table, rows in tables.items():
        store.from_arrow(pa.Table.from_pylist(rows, TABLES[table])).insert_into(table)


def explain(
    store: duckdb.DuckDBPyConnection, said: Mapping[str, Sequence[tuple[str | None, float]]], seed: int = 0
) -> None:  # fmt: skip
    """Adds the saliency of the tokens of some queries, in the order of reading."""
    about = {"base": "b", "recipe": "way", "seed": seed, "training_set": "set", "engine_version": "1"}
    rows = [
        {**about, "query_id": query, "position": position, "token": token, "nats": nats}
        for query, each in said.items()
        for position, (token, nats) in enumerate(each)
    ]
    store.from_arrow(pa.Table.from_pylist(rows, TABLES["saliency"])).insert_into("saliency")


def every_row() -> duckdb.DuckDBPyConnection:
    """A store that has all desiderata of training sets: labelled samples, a paraphrase, subsets at two seeds."""
    members, queries = "abcdefgh", "abcdefghqr"
    draw = np.random.default_rng(5)
    had = sorted({"".join(sorted(draw.choice(list(members), 4, replace=False))) for _ in range(60)})
    subsets = {
        seed: {some: {query: float(draw.normal() + (query in some)) for query in queries} for some in had}
        for seed in (0, 1)
    }
    cells = {(probe, query): float(draw.normal()) for probe in members for query in queries}
    samples: dict[str, dict[str, Any]] = {name: {"label": place % 2} for place, name in enumerate(queries)}
    samples |= {"a": {**samples["a"], "noise": "label_flip"}, "q1": {}}
    full = {**dict(zip(queries, (3 * draw.normal(size=10)).tolist(), strict=True)), "q1": -1.0}
    store = trained_store(
        members, full=full, watched={1: full}, subsets=subsets,
        cells={"leave_one_out": cells, "subsets": cells, **{f"data_value {fifth}!": cells for fifth in range(1, 6)}},
        samples=samples, modality="image", ranks={pair: (2, 1) for pair in cells},
        claims={("a", "b"): "paraphrase", ("a", "q"): "paraphrase"},
    )  # fmt: skip
    store.execute("update samples set prompt = 'dog' where name in ('a', 'b', 'c')")
    for seed in (0, 1):
        explain(store, {"q": (("dog", 1.0),), "r": (("dog", 1.0),)}, seed)
    for gone, about in (("ab", {"method": "lowest", "chosen_by": "leave_one_out"}), ("cd", {"method": "random"})):
        remove(store, members, gone, {query: float(draw.normal()) for query in queries}, share=0.25, **about)
    some = [{query: float(draw.normal()) for query in queries} for _ in range(3)]
    unlearn(store, members, "ef", *some, method="fine_tune", about="forget.txt", cost=0.25)
    for gone, method in (("bd", "learned"), ("bh", "shuffled")):
        said = {query: float(draw.normal()) for query in full}
        remove(store, members, gone, said, kind="ignore", method=method, json='{"steps": 10, "lr": 0.5}')
    return store
