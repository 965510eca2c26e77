"""One shard: its cells from its base, its samples and its arm, committed to the store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa

from einfluence.arms import FineTune, OfASet
from einfluence.errors import InputError
from einfluence.fit import trained_set
from einfluence.session import Session
from einfluence.shards import Job
from einfluence.store.curations import set_members
from einfluence.store.schema import PARTED, TABLES
from einfluence.store.store import AblationBlock, ArmKey, SampledBlock, Store
from einfluence.trainings import TrainingBlock, definitions

if TYPE_CHECKING:
    from einfluence.estimators.measure import Measured
    from einfluence.models.base import Base


@dataclass(frozen=True)
class Done:
    """What one job did: cells written, why each failed probe failed, and how long it took without loading the base."""

    cells: int
    failed: dict[str, str]
    seconds: float = 0.0


def compute(job: Job, session: Session, on_probe: Callable[[], None] = lambda: None) -> Done:
    """Computes one job's cells and commits them to the store.

    Args:
        job: The job.
        session: Of the worker that computes it.
        on_probe: Called after each probe, for progress.

    Raises:
        InputError: When a sample does not fit the base, or the store cannot be written.
    """
    store = Store(job.store)
    base = session.base(job.base, job.trust_remote_code)
    begun = time.perf_counter()
    tables, deltas, failed, cells = list[dict[str, pa.Table]](), dict[str, dict[str, Any]](), dict[str, str](), 0
    for measured in _measured(job, store, base, session, on_probe):
        tables.append(measured.tables)
        deltas |= measured.deltas if job.keep_deltas else {}
        failed |= measured.failed
        cells += measured.cells
    present = {name: [one[name] for one in tables if name in one] for name in PARTED}
    whole = {name: pa.concat_tables(found) for name, found in present.items() if found}
    for key in job.keys:
        store.add_part(key, whole, since=job.blocks[0].since)
    store.keep_deltas(job.key, deltas, job.keep_deltas)
    return Done(cells * len(job.keys), failed, time.perf_counter() - begun)


def _measured(job: Job, store: Store, base: Base, session: Session, on_probe: Callable[[], None]) -> Iterator[Measured]:
    """What each block of a job gives: probes trained or prompted with, their layers ablated, or trainings of a set."""
    from einfluence.engine.pieces import Piece
    from einfluence.estimators.ablation import ablate_block
    from einfluence.estimators.measure import measure_block

    folder = store.root / "curations" / job.curation
    samples, curated = session.curation(folder)
    kept = store.kept_deltas(job.key, job.probe_ids).get
    state = _state(store, job.state_id)
    arm, seed = job.arm, job.key.seed
    for block in job.blocks:
        if isinstance(block, TrainingBlock):
            yield from _trainings(block, job, store, base, session, on_probe)
            continue
        queries = [samples[query] for query in block.query_ids]
        probes = {probe: curated[probe] for probe in block.probe_ids}
        with session.computing(base):
            if isinstance(block, AblationBlock) and isinstance(arm, FineTune):
                targets = [[samples[query] for query in queries] for queries in block.wanted]
                yield ablate_block(base, arm, seed, probes, targets, kept=kept, on_probe=on_probe)
            else:
                within = trained_set(folder, job.schedule, samples, block.probe_ids)
                pieces = [Piece(*piece) for piece in block.pieces] if isinstance(block, SampledBlock) else None
                yield measure_block(
                    base, arm, seed, probes, queries,
                    kept=kept, state=state, within=within, pieces=pieces, on_probe=on_probe,
                )  # fmt: skip


def _trainings(
    block: TrainingBlock, job: Job, store: Store, base: Base, session: Session, on_probe: Callable[[], None]
) -> Iterator[Measured]:
    """Trainings of a set, and what was computed instead of one."""
    from einfluence.estimators.training import computed_block, training_block

    folder, schedule = store.root / "curations" / job.curation, block.schedule
    members, (samples, _), tuning = set_members(folder), session.curation(folder), cast("OfASet", job.arm).recipe
    own, later, queries = (
        [samples[name] for name in names] for names in (members.sample_ids, members.later, block.query_ids)
    )
    store.add_definitions(definitions(members, schedule, block.variants))
    variants = dict(zip(block.probe_ids, block.variants, strict=True))
    computed = {name: _state_file(store, one.computed) for name, one in variants.items() if one.computed}
    trained = {name: one for name, one in variants.items() if not one.computed}
    kept, seed = store.kept_deltas(job.key, list(trained)).get, job.key.seed
    with session.computing(base):
        if trained:
            yield training_block(
                base, tuning, seed, own, schedule, trained, queries, kept=kept, later=later, on_probe=on_probe
            )
        if computed:
            yield computed_block(base, tuning, seed, schedule, len(own), computed, queries, on_probe=on_probe)


def _state(store: Store, state_id: str | None) -> Mapping[str, Any] | None:
    from safetensors.torch import load_file

    return None if state_id is None else load_file(_state_file(store, state_id))


def _state_file(store: Store, state_id: str) -> Path:
    path = store.state(state_id)
    if path is None:
        fix = "run again: the plan fits what is missing"
        raise InputError(store.url, f"no state {state_id}", "the state that the plan has fitted", fix)
    return path


def record_failure(job: Job, reason: str) -> Done:
    """Commits that a whole job failed: an outcome with the reason for each of its probes and arms, and no cell."""
    rows = [{"probe_id": probe, "status": "failed", "reason": reason} for probe in job.probe_ids]
    empty = {name: TABLES[name].empty_table().drop_columns(_arm_columns(name)) for name in PARTED}
    outcomes = pa.Table.from_pylist(rows, empty["outcomes"].schema)
    for key in job.keys:
        Store(job.store).add_part(key, {**empty, "outcomes": outcomes})
    return Done(0, dict.fromkeys(job.probe_ids, reason))


def _arm_columns(name: str) -> list[str]:
    return [column for column in vars(ArmKey("", "", "", 0, "")) if column in TABLES[name].names]
