"""How missing blocks become shards: what one worker computes in one go and commits together.

Numbers are computed block by block, and blocks are cut along the curation's list of probes alone. So the number of
blocks in a shard changes no bit of any number and may follow the clock: it is kept nowhere, and a run that was killed
goes on bit for bit whatever size its shards had.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from einfluence.arms import Arm
from einfluence.models.base import BaseInfo
from einfluence.store.schema import TRAINING
from einfluence.store.store import AblationBlock, ArmKey, CellBlock
from einfluence.training_set import Schedule

BLOCK = 64  # probes that an engine gets at once
WORK = 30.0  # seconds that a shard shall take at least: committing and submitting it take a few tenths of one
MOST_PROBES, MOST_CELLS = 1024, 4_000_000  # a shard is held in memory until it is committed


@dataclass(frozen=True)
class Job:
    """A shard: blocks of missing cells of one arm, and all that a worker needs to compute them.

    Args:
        schedule: Of the training set, where an estimate is about it.
        also: Arms that lack the same cells, and whose numbers are the same.
    """

    store: str
    base: BaseInfo
    curation: str
    arm: Arm
    key: ArmKey
    blocks: tuple[CellBlock, ...]
    keep_deltas: int
    trust_remote_code: bool
    state_id: str | None = None
    schedule: Schedule | None = None
    also: tuple[ArmKey, ...] = ()

    @property
    def label(self) -> str:
        """What the job holds, for run names and logs."""
        sizes = {len(block.query_ids) for block in self.blocks}
        size = f"{len(self.probe_ids)} probes x {max(sizes)} queries" + (" at most" if len(sizes) > 1 else "")
        if isinstance(self.blocks[0], AblationBlock):
            size = f"{len(self.probe_ids)} probes, layers undone"
        if self.key.estimator == TRAINING:
            size = f"{len(self.probe_ids)} trainings x {max(sizes)} queries"
        return f"{self.base.label} {self.key.estimator} {self.arm.label} seed {self.key.seed}: {size}"

    @property
    def probe_ids(self) -> tuple[str, ...]:
        """The probes of all blocks."""
        return tuple(probe for block in self.blocks for probe in block.probe_ids)

    @property
    def keys(self) -> tuple[ArmKey, ...]:
        """All arms whose cells these are."""
        return (self.key, *self.also)

    @property
    def cells(self) -> int:
        """Number of missing cells."""
        return sum(block.cells for block in self.blocks) * len(self.keys)

    def alone(self) -> list[Job]:
        """A job for each block."""
        return [replace(self, blocks=(block,)) for block in self.blocks]


class Shards:
    """Hands out what is left to do, in shards of half a minute by how long earlier ones took.

    The first shards of an arm are single blocks, since nothing is known of it yet.

    Args:
        jobs: One for each block.
        workers: Who shares the work: no shard takes more than a worker's share of what is left.
        fixed: One block a shard, whatever it takes.
    """

    def __init__(self, jobs: Sequence[Job], workers: int = 1, *, fixed: bool = False) -> None:
        self._left = deque(jobs)
        self._workers, self._fixed = workers, fixed
        self._pace: dict[tuple[str, tuple[ArmKey, ...], type[CellBlock]], float] = {}  # seconds a probe

    def take(self) -> Job | None:
        """The next shard, or None when nothing is left."""
        if not self._left:
            return None
        share = -(-len(self._left) // self._workers)
        first = self._left.popleft()
        blocks, probes, cells = [*first.blocks], len(first.probe_ids), first.cells
        pace = None if self._fixed else self._pace.get(_kind(first))
        while pace is not None and self._left and pace * probes < WORK and len(blocks) < share:
            following = self._left[0]
            probes, cells = probes + len(following.probe_ids), cells + following.cells
            if _kind(following) != _kind(first) or probes > MOST_PROBES or cells > MOST_CELLS:
                break
            blocks += self._left.popleft().blocks
        return replace(first, blocks=tuple(blocks))

    def took(self, job: Job, seconds: float) -> None:
        """Notes how long a shard took."""
        self._pace[_kind(job)] = seconds / len(job.probe_ids)


def _kind(job: Job) -> tuple[str, tuple[ArmKey, ...], type[CellBlock]]:
    """What jobs of one shard have in common: the curation, the arms, and whether they train or restore."""
    return job.curation, job.keys, type(job.blocks[0])
