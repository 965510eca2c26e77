"""Trainings of a set: which of them arms need, and the store lacks.

In the store a training is a probe of an arm of its own: what it changes of a query's log-probability is a cell like any
other. So trainings are planned, kept and committed like probes, and arms that need the same one share it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pyarrow as pa

from einfluence.arms import Arm, OfASet
from einfluence.store.curations import set_members
from einfluence.store.missing import missing_cells
from einfluence.store.parts import CELL
from einfluence.store.schema import DEFINED, TRAINING
from einfluence.store.store import ArmKey, CellBlock, Store
from einfluence.training_set import Members, Schedule, Variant, watched

VERSION = "1"  # of the definition of a training's numbers; raise those of the estimators that compare them with it


@dataclass(frozen=True)
class TrainingBlock(CellBlock):
    """Trainings of one set that lack the same queries; ``probe_ids`` are their ids.

    Args:
        schedule: How the set is gone through.
        variants: What each of them leaves out.
    """

    schedule: Schedule = Schedule()
    variants: tuple[Variant, ...] = ()


@dataclass(frozen=True)
class Attribution:
    """Cells of an arm that follow from trainings of a set.

    Args:
        store: The store's root.
        curation: Whose probes are the set.
        arm: An arm that is registered with ``within``.
        key: Of its cells.
        schedule: How the set is gone through.
        blocks: Its missing cells.
    """

    store: str
    curation: str
    arm: Arm
    key: ArmKey
    schedule: Schedule
    blocks: tuple[CellBlock, ...]

    @property
    def trainings(self) -> ArmKey:
        """The arm of the trainings that are compared."""
        return key_of(self.key.base, OfASet.of(self.arm), self.key.seed)

    @property
    def label(self) -> str:
        """What is attributed, for run names and logs."""
        return f"{self.key.estimator} {self.arm.label} seed {self.key.seed}"

    def variants(self, members: Members, probe_ids: Sequence[str]) -> list[Variant]:
        """The trainings that cells of some probes follow from."""
        return self.arm.made_by.implementation.variants(self.arm, members, self.key.seed, probe_ids)


@dataclass(frozen=True)
class Watch:
    """What the training on a whole set says before its end.

    Args:
        every: So many steps.
        query_ids: What it is queried with.
    """

    every: int
    query_ids: tuple[str, ...]


def key_of(base_id: str, arm: OfASet, seed: int) -> ArmKey:
    """The arm of the trainings of a base."""
    return ArmKey(base_id, TRAINING, arm.recipe_id, seed, VERSION)


def by_trainings(attributions: Iterable[Attribution]) -> dict[ArmKey, list[Attribution]]:
    """Attributions by the arm of the trainings that they compare, which they share."""
    found: dict[ArmKey, list[Attribution]] = {}
    for one in attributions:
        found.setdefault(one.trainings, []).append(one)
    return found


def missing_trainings(
    attributions: Sequence[Attribution], curation: Path, store: Store, size: int, watch: Watch | None = None
) -> tuple[int, list[TrainingBlock]]:
    """What some arms need of the same set and way of training.

    Args:
        attributions: Of arms in one curation whose :attr:`Attribution.trainings` are one.
        curation: The folder of that curation, whose probes are the set.
        store: The store.
        size: Most trainings in a block.
        watch: How the training on the whole set is watched.

    Returns:
        The number of pairs of training and query that all cells of these arms follow from, and the blocks that the
        missing cells need and the store lacks.
    """
    key, schedule, members = attributions[0].trainings, attributions[0].schedule, set_members(curation)
    set_id, more = members.set_id(schedule), list[Variant]()
    order = list(members.probes)
    every = missing_cells(order, curation / "relations.parquet", [], max(len(order), 1), -1)
    _, asked = _needed([(each, every) for each in attributions], members, set_id)
    own, queries = _needed([(each, each.blocks) for each in attributions], members, set_id)
    if watch is not None:
        more = watched(watch.every, schedule.all_steps(len(members.sample_ids), len(members.later)))
        own.append({variant.training_id(set_id): variant for variant in more})
        queries |= dict.fromkeys(own[-1], watch.query_ids)
    blocks = [block for some in own if some for block in lacking(key, schedule, some, queries, store, size)]
    return sum(map(len, asked.values())) + len(more) * len(watch.query_ids if watch else ()), blocks


def _needed(
    arms: Iterable[tuple[Attribution, Sequence[CellBlock]]], members: Members, set_id: str
) -> tuple[list[dict[str, Variant]], dict[str, tuple[str, ...]]]:
    """The trainings that cells of some arms follow from, by id, and what each is queried with.

    They are listed with the first arm that needs them: no block holds two arms'.
    """
    queries: dict[str, dict[tuple[str, ...], None]] = {}  # of each block whole: there may be millions of pairs
    own: list[dict[str, Variant]] = []
    for attribution, blocks in arms:
        own.append({})
        for block in blocks:
            for variant in attribution.variants(members, block.probe_ids):
                name = variant.training_id(set_id)
                if name not in queries:
                    own[-1][name], queries[name] = variant, {}
                queries[name][block.query_ids] = None
    return own, {name: _merged(tuple(each)) for name, each in queries.items()}


def _merged(some: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    return some[0] if len(some) == 1 else tuple(dict.fromkeys(chain.from_iterable(some)))


def lacking(
    key: ArmKey,
    schedule: Schedule,
    variants: Mapping[str, Variant],
    queries: Mapping[str, Iterable[str]],
    store: Store,
    size: int,
) -> list[TrainingBlock]:
    """Blocks of the trainings that a store lacks, or that lack queries there.

    Args:
        key: The arm of the trainings.
        schedule: How their set is gone through.
        variants: The trainings, by id.
        queries: What each of them is queried with.
        store: The store.
        size: Most trainings in a block.
    """
    since, present = store.log.state().version, store.part_paths("influence", key)
    return [
        TrainingBlock(one.probe_ids, one.query_ids, since, schedule, tuple(variants[name] for name in one.probe_ids))
        for one in missing_cells(list(variants), _pairs(queries, variants), present, size, since)
    ]


def set_rows(members: Members, schedule: Schedule) -> dict[str, pa.Table]:
    """The rows that say what a training set is, by table."""
    set_id, n = members.set_id(schedule), len(members.sample_ids)
    about = schedule.model_dump(exclude={"then"})
    if schedule.then is not None:
        about["then"] = {**schedule.then.model_dump(), "samples": members.later}
    row = {"training_set": set_id, "samples": n, "label": schedule.label, "json": json.dumps(about, sort_keys=True)}
    each = {"training_set": [set_id] * n, "position": list(range(n)), "sample_id": list(members.sample_ids)}
    return {
        "training_sets": pa.Table.from_pylist([row], DEFINED["training_sets"]),
        "training_set_members": pa.table(each, DEFINED["training_set_members"]),
    }


def definitions(members: Members, schedule: Schedule, variants: Iterable[Variant]) -> dict[str, pa.Table]:
    """The rows that say what some trainings of a set are, by table."""
    set_id = members.set_id(schedule)
    named = [(variant.training_id(set_id), variant) for variant in variants]
    rows = [{"training": n, "training_set": set_id, "kind": v.kind, "about": v.about} for n, v in named]
    weights = [{"training": n, "position": at, "weight": weight} for n, v in named for at, weight in v.weighs.items()]
    return {
        "trainings": pa.Table.from_pylist(rows, DEFINED["trainings"]),
        "training_weights": pa.Table.from_pylist(weights, DEFINED["training_weights"]),
    }


def _pairs(queries: Mapping[str, Iterable[str]], names: Iterable[str]) -> pa.Table:
    """Rows of (probe_id, query_id)."""
    pairs = [(name, query) for name in names for query in queries[name]]
    return pa.table({key: pa.array([pair[i] for pair in pairs], pa.string()) for i, key in enumerate(CELL)})
