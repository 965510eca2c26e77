"""Queries put to trainings of the generic engine: to many at a time, or to one that is left in a plain model."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from einfluence.engine.batch_sizes import Sizes
from einfluence.engine.measurement import Item, Scores
from einfluence.engine.merged_reading import MergedReading
from einfluence.engine.precise import doubled
from einfluence.models.base import Batch

Values = Mapping[str, Tensor]
TOGETHER = 1 << 16  # logits that are scored at once, as each call of torch takes its time
LARGE = 32  # a block of queries of this part of what is read at once is put to one training alone, in a plain model


class Runs(Protocol):
    """What the scorer needs of an engine."""

    start: Mapping[str, Tensor]

    @property
    def sizes(self) -> Sizes:
        """How much is computed at once."""
        ...

    @property
    def pads(self) -> bool:
        """Whether items of other sizes may stand in one batch."""
        ...

    @property
    def merged(self) -> MergedReading | None:
        """What reads one training that is left in the weights of a plain model, where it can be."""
        ...

    def collated(self, items: Sequence[Item]) -> Batch:
        """Items as the model takes them."""
        ...

    def logits(self, values: Values, batch: Batch, shared: bool) -> Tensor:
        """Logits from stacked parameters and batches."""
        ...


@dataclass(frozen=True, eq=False)
class Block:
    """Queries that are read together.

    Args:
        queries: Their places.
        batch: What the model takes.
        slots: How many trainings read them at a time.
        read: Where it is one: reads them with what was merged last.
    """

    queries: list[int]
    batch: Batch
    slots: int
    read: Callable[[], Tensor] | None


class QueryScorer:
    """All queries in blocks, each put to equally many trainings at a time, and to the base along the same path.

    So a training that changed nothing has influence exactly 0.

    Args:
        engine: Runs them.
        queries: Q items.
        trainings: How many there will be.
    """

    def __init__(self, engine: Runs, queries: Sequence[Item], trainings: int) -> None:
        self.engine, self.queries, self._trainings = engine, queries, trainings
        self.blocks: list[Block] = []
        self._batches: dict[tuple[int, ...], Batch] = {}  # of the blocks that are scored at once
        order = sorted(range(len(queries)), key=lambda i: queries[i].size)
        alike = (
            [order] if engine.pads else [list(some) for _, some in itertools.groupby(order, lambda i: queries[i].size)]
        )
        for some in alike if queries else ():
            self._split(some)
        self._before = {at: (logprobs, ranks) for at, _, logprobs, ranks in self._read([engine.start])}
        if self.blocks and all(block.read is not None for block in self.blocks):
            # What the model cannot do for many trainings at once shows here, however its queries happen to be read.
            self._put(self._stacked([engine.start]), range(1), Block([0], engine.collated(queries[:1]), 1, None))
        self.n_tokens = np.array([query.n_target for query in queries], dtype=np.int64)
        logprob, rank = np.zeros(len(queries)), np.ones(len(queries), dtype=np.int64)
        for at, (logprobs, ranks) in self._before.items():
            logprob[self.blocks[at].queries], rank[self.blocks[at].queries] = logprobs[0], ranks[0]
        self.before = Scores(logprob, self.n_tokens, rank)

    def _split(self, some: list[int]) -> None:
        """Blocks of queries in order of their size; where all are of one, of about equally many, none a small rest."""
        budget, size = self.engine.sizes.score, self.queries[some[-1]].size
        count = -(-len(some) // max(budget // size, 1))
        if self.queries[some[0]].size == size:
            for part in np.array_split(some, count):
                self._add(part.tolist())
            return
        block = list[int]()
        for i in some:
            if block and (len(block) + 1) * self.queries[i].size > budget:
                self._add(block)
                block = []
            block.append(i)
        self._add(block)

    def _add(self, block: list[int]) -> None:
        width = max(self.queries[i].size for i in block)
        tokens, budget = len(block) * width, self.engine.sizes.score
        batch, merged = self.engine.collated([self.queries[i] for i in block]), self.engine.merged
        if merged is not None and tokens >= budget // LARGE:
            self.blocks.append(Block(block, batch, 1, merged.reads(batch, self._trainings)))
        else:
            most = min(self._trainings, self.engine.sizes.window)
            self.blocks.append(Block(block, batch, max(min(budget // tokens, most), 1), None))

    def score(self, deltas: Sequence[Values]) -> list[Scores]:
        """Puts the queries to N trainings, given by what they changed."""
        if not deltas:
            return []
        change, rank = np.zeros((len(deltas), len(self.queries))), np.ones((len(deltas), len(self.queries)), np.int64)
        for at, own, logprobs, ranks in self._read(deltas):
            indices = self.blocks[at].queries
            change[own.start : own.stop, indices] = (logprobs - self._before[at][0])[: len(own)]
            rank[own.start : own.stop, indices] = ranks[: len(own)]
        return [Scores(self.before.logprob + change[i], self.n_tokens, rank[i]) for i in range(len(deltas))]

    def _read(self, trainings: Sequence[Values]) -> Iterator[tuple[int, range, Any, Any]]:
        """Each block put to all trainings: which block, which of them, log-probabilities and ranks."""
        if (merged := self.engine.merged) is not None and any(block.read is not None for block in self.blocks):
            for i, values in enumerate(trainings):
                merged.merge(values)
                for at, logprobs, ranks in self._alone():
                    yield at, range(i, i + 1), logprobs, ranks
        several = [(at, block) for at, block in enumerate(self.blocks) if block.read is None]
        stacked = self._stacked(trainings) if several else {}
        for at, block in several:
            for begin in range(0, len(trainings), block.slots):
                own = range(begin, min(begin + block.slots, len(trainings)))
                yield at, own, *self._put(stacked, own, block)

    def _stacked(self, trainings: Sequence[Values]) -> Values:
        start = self.engine.start
        return {name: torch.stack([values[name] for values in trainings]).to(start[name]) for name in start}

    def _alone(self) -> Iterator[tuple[int, Any, Any]]:
        """Each block that is put to the training that was merged last, some small ones scored at once."""
        read = ((at, block.read()) for at, block in enumerate(self.blocks) if block.read is not None)
        for some in _together(read):
            places, logits = tuple(at for at, _ in some), [own for _, own in some]
            if places not in self._batches:
                fields = zip(*(self.blocks[at].batch[1:] for at in places), strict=True)
                self._batches[places] = Batch({}, *(torch.cat(values) for values in fields))
            scored = self._scored((torch.cat(logits) if len(some) > 1 else logits[0])[None], self._batches[places])
            ends = list(itertools.accumulate(map(len, logits)))[:-1]
            yield from zip(places, *(np.split(each, ends, axis=1) for each in scored), strict=True)

    def _put(
        self, values: Values, which: range, block: Block
    ) -> tuple[Float64[np.ndarray, "slots queries"], Int64[np.ndarray, "slots queries"]]:
        """What trainings make of the queries of a block; slots that are left over repeat the last one."""
        taken = [min(i, which.stop - 1) for i in range(which.start, which.start + block.slots)]
        own = {name: value[taken] for name, value in values.items()}
        with torch.no_grad():
            return self._scored(self.engine.logits(own, block.batch, True), block.batch)

    def _scored(
        self, logits: Float[Tensor, "slots B T classes"], batch: Batch
    ) -> tuple[Float64[np.ndarray, "slots queries"], Int64[np.ndarray, "slots queries"]]:
        """Log-probabilities and ranks of a batch of queries."""
        targets = batch.targets.expand(logits.shape[:-1])[..., None]
        logprobs = logits.log_softmax(-1).gather(-1, targets)[..., 0]
        ranks = (logits > logits.gather(-1, targets)).sum(-1) + 1
        counts = batch.counts
        logprobs = doubled(torch.where(counts, logprobs, 0.0)).sum(-1)
        return logprobs.cpu().numpy(), torch.where(counts, ranks, 1).amax(-1).cpu().numpy()


def _together(read: Iterable[tuple[int, Tensor]]) -> Iterator[list[tuple[int, Float[Tensor, "B T classes"]]]]:
    """What was read of blocks, in lists of what may be scored at once."""
    some: list[tuple[int, Tensor]] = []
    for at, logits in read:
        many = logits.numel() + sum(own.numel() for _, own in some) > TOGETHER
        if some and (many or some[0][1].shape[1:] != logits.shape[1:]):
            yield some
            some = []
        some.append((at, logits))
    if some:
        yield some
