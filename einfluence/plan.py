"""What a spec wants and its store lacks, in blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from einfluence.arms import Arm, FineTune
from einfluence.fit import Fit, state_id
from einfluence.prepare import Prepared
from einfluence.shards import BLOCK, Job
from einfluence.spec import Spec, byte_count
from einfluence.store.store import ArmKey, CellBlock, Store


@dataclass(frozen=True)
class Plan:
    """What a run has to do.

    Args:
        wanted: Cells that the spec wants.
        present: Cells that the store has.
        jobs: One for each block of missing cells.
        fits: States that have to be fitted before the jobs of their arms.
        fixed: Whether the spec says how many probes a shard has; else :class:`Shards` puts blocks together.
    """

    wanted: int
    present: int
    jobs: tuple[Job, ...]
    fits: tuple[Fit, ...] = ()
    fixed: bool = False


def plan(spec: Spec, prepared: Sequence[Prepared], store: Store) -> Plan:
    """Wanted cells minus present cells, in jobs."""
    wanted, missing, jobs, fits = 0, 0, list[Job](), list[Fit]()
    keep = byte_count(spec.keep_deltas)
    for item in prepared:
        folder = store.root / "curations" / item.curation
        base = item.measured
        for arm, key in arm_keys(item):
            cells, blocks = wanted_blocks(spec, folder, arm, key, store)
            wanted += cells
            missing += sum(block.cells for block in blocks)
            about = (store.url, base, item.curation, arm, key)
            state = state_id(key) if arm.made_by.fits else None
            if blocks and state is not None and store.state(state) is None:
                fits.append(Fit(*about, item.part.trust_remote_code))
            jobs += [Job(*about, (block,), keep, item.part.trust_remote_code, state) for block in blocks]
    return Plan(wanted, wanted - missing, tuple(jobs), tuple(fits), fixed=spec.shard is not None)


def wanted_blocks(spec: Spec, curation: Path, arm: Arm, key: ArmKey, store: Store) -> tuple[int, list[CellBlock]]:
    """How many cells a spec wants of one arm of a curation, and the blocks that a store lacks; restorations last."""
    size = spec.shard or BLOCK
    wanted = pq.read_metadata(curation / "relations.parquet").num_rows
    blocks: list[CellBlock] = [*store.missing(curation, key, size)]
    if isinstance(arm, FineTune) and arm.restore:
        restorations, more = store.missing_ablations(curation, key, size, arm.restore)
        return wanted + restorations, [*blocks, *more]
    return wanted, blocks


def arm_keys(item: Prepared) -> Iterator[tuple[Arm, ArmKey]]:
    """The arms of a part, once for each seed where one changes anything; else with seed 0."""
    for arm in item.part.arms:
        for seed in item.part.seeds if arm.recipe.draws else (0,):
            recipe = arm.recipe_for(item.curation)
            yield arm, ArmKey(item.base.base_id, arm.estimator, recipe, seed, arm.made_by.version)
