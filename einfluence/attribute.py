"""Attribution: from what trainings of a set have learned to what each of its probes did. Nothing is trained here."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from einfluence.compute import Done
from einfluence.estimators.within import Attributed, TrainingScores, Within
from einfluence.store.curations import set_members
from einfluence.store.store import ArmKey, Store
from einfluence.training_set import Members
from einfluence.trainings import Attribution, definitions


def attribute(todo: Attribution) -> Done:
    """Computes an arm's missing cells from its trainings, and commits them.

    A probe fails whose trainings failed.

    Raises:
        InputError: When the store cannot be read or written.
    """
    begun = time.perf_counter()
    store = Store(todo.store)
    members = set_members(store.root / "curations" / todo.curation)
    alike: dict[tuple[str, ...], list[str]] = {}
    for block in todo.blocks:
        alike.setdefault(block.query_ids, []).extend(block.probe_ids)
    failed, cells = dict[str, str](), 0
    for queries, probes in alike.items():
        found = _attributed(todo, members, store, probes, queries)
        tables = _tables(found, queries)
        failed |= {probe: one.failed for probe, one in found.items() if one.failed}
        cells += store.add_part(todo.key, tables, since=todo.blocks[0].since)
    return Done(cells, failed, time.perf_counter() - begun)


def _attributed(
    todo: Attribution, members: Members, store: Store, probes: Sequence[str], queries: Sequence[str]
) -> dict[str, Attributed]:
    set_id = members.set_id(todo.schedule)
    variants = todo.variants(members, probes)
    store.add_definitions(definitions(members, todo.schedule, variants))  # others may have taken them, by other names
    ids = [variant.training_id(set_id) for variant in variants]
    scores = training_scores(store, todo.trainings, ids, queries)
    implementation: Within = todo.arm.made_by.implementation
    found = implementation.attributed(todo.arm, members, todo.key.seed, probes, scores)
    return dict(zip(probes, found, strict=True))


def training_scores(store: Store, key: ArmKey, ids: Sequence[str], queries: Sequence[str]) -> TrainingScores:
    """What trainings say of queries, as far as they are in the store; the others have failed.

    Args:
        store: The store.
        key: The arm of the trainings.
        ids: V trainings.
        queries: Q queries.
    """
    each = list(dict.fromkeys(ids))  # two probes of the same samples have one training between them
    row, column = ({name: index for index, name in enumerate(names)} for names in (each, queries))
    logprob = np.full((len(each), len(queries)), np.nan)
    rank = np.zeros((len(each), len(queries)), np.int64)
    n_tokens = np.zeros(len(queries), np.int64)
    found, reasons = store.training_scores(key, each)
    for batch in found.to_batches():
        at = np.array([row[name] for name in batch["training"].to_pylist()], np.int64)
        of = np.array([column.get(name, -1) for name in batch["query_id"].to_pylist()], np.int64)
        kept = of >= 0
        places = at[kept], of[kept]
        logprob[places] = batch["logprob"].to_numpy()[kept]
        rank[places] = batch["rank"].to_numpy()[kept]
        n_tokens[of[kept]] = batch["n_tokens"].to_numpy()[kept]
    at = [row[name] for name in ids]
    absent = [i for i, place in enumerate(at) if np.isnan(logprob[place]).any()]
    return TrainingScores(logprob[at], rank[at], n_tokens, {i: reasons.get(ids[i], "it was not done") for i in absent})


def _tables(found: Mapping[str, Attributed], queries: Sequence[str]) -> dict[str, pa.Table]:
    from einfluence.estimators.measure import influence_rows
    from einfluence.store.parts import columns_of

    query_ids = pa.array(queries, pa.string())
    cells = [influence_rows(probe, query_ids, one.change) for probe, one in found.items() if one.change is not None]
    outcomes: list[dict[str, Any]] = [
        {
            "probe_id": probe,
            "status": "failed" if one.failed else "done",
            "reason": one.failed or one.note,
            "seconds": 0.0,
        }
        for probe, one in found.items()
    ]
    return {
        "influence": pa.concat_tables([columns_of("influence").empty_table(), *cells]).combine_chunks(),
        "outcomes": pa.Table.from_pylist(outcomes, columns_of("outcomes")),
    }
