"""What a spec wants and its store lacks, in blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from einfluence.arms import Arm, FineTune, OfASet
from einfluence.fit import Fit, state_id
from einfluence.keys import content_hash
from einfluence.prepare import Prepared
from einfluence.shards import BLOCK, Job
from einfluence.spec import Spec, byte_count
from einfluence.store.curations import set_members
from einfluence.store.store import ArmKey, CellBlock, Store
from einfluence.trainings import Attribution, by_trainings, missing_trainings


@dataclass(frozen=True)
class Plan:
    """What a run has to do.

    Args:
        wanted: Cells that the spec wants.
        present: Cells that the store has.
        jobs: One for each block of missing cells, trainings of sets among them.
        fits: States that have to be fitted before the jobs of their arms.
        attributions: Cells that follow from trainings of sets, once the jobs are done.
        fixed: Whether the spec says how many probes a shard has; else :class:`Shards` puts blocks together.
    """

    wanted: int
    present: int
    jobs: tuple[Job, ...]
    fits: tuple[Fit, ...] = ()
    attributions: tuple[Attribution, ...] = ()
    fixed: bool = False

    def __add__(self, other: Plan) -> Plan:
        """Both; nothing of the one is in the other."""
        both = (self.jobs + other.jobs, self.fits + other.fits, self.attributions + other.attributions)
        return Plan(self.wanted + other.wanted, self.present + other.present, *both, fixed=self.fixed)

    @property
    def empty(self) -> bool:
        """Whether nothing is left to do."""
        return not (self.jobs or self.attributions)


def plan(spec: Spec, prepared: Sequence[Prepared], store: Store) -> Plan:
    """Wanted cells minus present cells, in jobs."""
    wanted, missing, jobs, fits, attributions = 0, 0, list[Job](), dict[str, Fit](), list[Attribution]()
    keep = byte_count(spec.keep_deltas)
    for item in prepared:
        folder = store.root / "curations" / item.curation
        base, remote = item.measured, item.part.trust_remote_code
        within: list[Attribution] = []
        for arm, key in arm_keys(item, folder):
            cells, blocks = wanted_blocks(spec, folder, arm, key, store, item.groups(arm))
            wanted += cells
            missing += sum(block.cells for block in blocks)
            if arm.made_by.within:
                within.append(Attribution(store.url, item.curation, arm, key, item.schedule, tuple(blocks)))
                continue
            about = (store.url, base, item.curation, arm, key)
            fit, schedule = arm.fit_for(item.known(arm, folder)), item.schedule if arm.in_a_set else None
            state = state_id(key, fit) if arm.made_by.fits else None
            if blocks and state is not None and state not in fits and store.state(state) is None:
                fits[state] = Fit(*about, remote, fit, schedule)
            jobs += [Job(*about, (block,), keep, remote, state, schedule) for block in blocks]
        for key, some in by_trainings(within).items():
            cells, lacking = missing_trainings(some, folder, store, spec.shard or BLOCK, item.watch(folder))
            wanted += cells
            missing += sum(block.cells for block in lacking)
            about = (store.url, base, item.curation, OfASet.of(some[0].arm), key)
            jobs += [Job(*about, (block,), keep, remote) for block in lacking]
        attributions += [one for one in within if one.blocks]
    present, left = wanted - missing, computed_once(jobs)
    needed = {job.state_id for job in left}
    todo = tuple(fit for name, fit in fits.items() if name in needed)
    return Plan(wanted, present, tuple(left), todo, tuple(attributions), fixed=spec.shard is not None)


def computed_once(jobs: Sequence[Job]) -> list[Job]:
    """Jobs of which no two are the same numbers of the same cells: the first has the arms of the others beside it.

    So is an estimate that stands for several interventions of one training. Every arm keeps cells of its own.
    """
    found: dict[str, Job] = {}
    for place, job in enumerate(jobs):
        name = str(place)
        if job.schedule is not None:  # an estimate within a set
            cells = [(block.probe_ids, block.query_ids) for block in job.blocks]
            about = (job.curation, job.key.base, job.key.seed, job.key.engine_version, cells)
            name = content_hash((*about, job.arm.numbers))
        first = found.get(name)
        found[name] = job if first is None else replace(first, also=(*first.also, job.key))
    return list(found.values())


def wanted_blocks(
    spec: Spec, curation: Path, arm: Arm, key: ArmKey, store: Store, groups: int | None = None
) -> tuple[int, list[CellBlock]]:
    """How many cells a spec wants of one arm of a curation, and the blocks that a store lacks; ablations last.

    Of an arm that knows the training set, the probes that are in it; what an estimate says of them is one block, since
    it follows from one training. With ``groups``, only so many groups of queries, and what is claimed.
    """
    size = spec.shard or BLOCK
    if arm.in_a_set:
        probes = list(set_members(curation).probes)
        size = size if arm.made_by.within else len(probes)
        of_these = pc.field("probe_id").isin(probes)
        wanted = pq.read_table(curation / "relations.parquet", columns=["probe_id"], filters=of_these).num_rows
        return wanted, store.missing(curation, key, size, probes)
    if groups is None:
        wanted = pq.read_metadata(curation / "relations.parquet").num_rows
        blocks: list[CellBlock] = [*store.missing(curation, key, size)]
    else:
        wanted, few = store.missing_sampled(curation, key, size, groups)
        blocks = [*few]
    if isinstance(arm, FineTune) and arm.restore:
        restorations, more = store.missing_ablations(curation, key, size, arm.restore)
        return wanted + restorations, [*blocks, *more]
    return wanted, blocks


def arm_keys(item: Prepared, folder: Path) -> Iterator[tuple[Arm, ArmKey]]:
    """The arms of a part, once for each seed where one changes anything; else with seed 0.

    Args:
        item: The part.
        folder: Of its curation.
    """
    for arm in item.arms:
        for seed in item.part.seeds if item.draws(arm) else (0,):
            recipe = arm.recipe_for(item.known(arm, folder))
            yield arm, ArmKey(item.base.base_id, arm.estimator, recipe, seed, arm.made_by.version)
