"""What all engines for texts share: trainings in batches, then all queries in blocks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Protocol, cast

import numpy as np
from torch import Tensor

from einfluence.engine.batch_sizes import Sizes
from einfluence.engine.descent import measured_rows, windows
from einfluence.engine.measurement import Item, Measurement, Scores, TextItem, Tuned
from einfluence.engine.schedule import Rhythm, Training
from einfluence.engine.text.lower_blocks import LowerBlocks
from einfluence.engine.text.network import Network
from einfluence.engine.text.packing import pack_each
from einfluence.engine.text.scoring import QueryScorer
from einfluence.engine.text.side_by_side import SideBySideScorer, blank_scores, joins
from einfluence.spec import Recipe


class Scorer(Protocol):
    """Queries that are put to trainings."""

    def score(self, count: int, put: Callable[[int, int], None]) -> list[Scores]:
        """Puts them to ``count`` trainings; ``put`` is called with ``begin`` and ``end``, and puts these in."""
        ...


class TextEngine(ABC):
    """What trains texts many at once and puts all queries to them.

    Args:
        network: Follows the parameters of the probes that are put in.
        recipe: How to train.
        sizes: Batch sizes.
        share: Whether queries that begin alike share that beginning.
    """

    def __init__(self, network: Network, recipe: Recipe, sizes: Sizes, share: bool) -> None:
        self.network, self.recipe, self.sizes, self.share = network, recipe, sizes, share
        self.device = network.device

    @abstractmethod
    def install_base(self, probes: int) -> None:
        """Puts in N probes that are the base."""

    @abstractmethod
    def score_trained(self, scorer: Scorer, deltas: list[dict[str, Tensor]]) -> list[Scores]:
        """Puts the queries to as many probes as the scorer expects, or more."""

    @abstractmethod
    def train(self, probes: Sequence[Training[Item]]) -> list[Tuned]:
        """Takes N trainings of one rhythm at once; what one does never reaches another."""

    def measure(
        self, probes: Sequence[Training[Item]], queries: Sequence[Item], kept: Mapping[int, dict[str, Tensor]]
    ) -> Measurement:
        """As :func:`einfluence.engine.measure`."""
        scorer = QueryScorer(
            self.network, cast("Sequence[TextItem]", queries), self.sizes.score, self.share, alone=self.sizes.alone
        )
        most = min(len(probes), self.sizes.window) or 1
        before = scorer.score_base(most, self.install_base)
        train, score = partial(self._trained, probes), partial(self._score, scorer)
        return Measurement(before, measured_rows(len(probes), self.sizes.window, kept, train, score))

    @property
    def reads_each(self) -> bool:
        """Whether the texts of several probes can be rows of a batch, each laid out in its own way."""
        if self.network.structure.joins is None:
            self.install_base(2)
        return joins(self.network)

    def reached(self, delta: dict[str, Tensor], queries: Sequence[Item]) -> list[bool]:
        """For each query, whether a training can have changed its scores at all; its last token predicts nothing."""
        changed = self.changed_tokens(delta)
        if changed is None:
            return [True] * len(queries)
        return [not changed.isdisjoint(item.ids[:-1]) for item in cast("Sequence[TextItem]", queries)]

    def changed_tokens(self, delta: dict[str, Tensor]) -> set[int] | None:
        """The tokens whose embeddings a training has changed, where it has changed nothing else; None where it has."""
        return None

    def read_each(self, deltas: Sequence[dict[str, Tensor]], queries: Sequence[Sequence[Item]]) -> list[Scores]:
        """The scores after each of N trainings, of its own queries."""
        texts = [cast("Sequence[TextItem]", some) for some in queries]
        found = [blank_scores(some) for some in texts]
        below = LowerBlocks(self.network, texts, self.sizes.score)
        for batch in pack_each(texts, self.sizes.score, self.share, self.sizes.alone):
            scorer = SideBySideScorer(self.network, batch, [texts[i] for i in batch.trainings], below)
            read = self.score_trained(scorer, [deltas[i] for i in batch.trainings])
            for i, own in zip(batch.trainings, read, strict=True):
                np.add(found[i].logprob, own.logprob, out=found[i].logprob)
                np.maximum(found[i].rank, own.rank, out=found[i].rank)
        return found

    def _score(self, scorer: QueryScorer, deltas: list[dict[str, Tensor]]) -> list[Scores]:
        filled = deltas + deltas[:1] * (scorer.most - len(deltas))
        return self.score_trained(scorer, filled)[: len(deltas)] if deltas else []

    def _batches(self, indices: list[int], probes: Sequence[Training[Item]]) -> Iterator[list[int]]:
        """Trainings of one rhythm together; of those that are not scheduled, as many as the budget lets be read."""

        def shape(i: int) -> tuple[Rhythm, bool, int, int]:
            scheduled = probes[i].kind == "scheduled"
            rows = 0 if scheduled else len(probes[i].items)
            return probes[i].rhythm, scheduled, rows, max(item.size for item in probes[i].items)

        batch: list[int] = []
        for i in sorted(indices, key=shape):
            *alike, rows, width = shape(i)
            full = (len(batch) + 1) * rows * width > self.sizes.train
            if batch and (full or [*alike, rows] != list(shape(batch[0])[:3])):
                yield batch
                batch = []
            batch.append(i)
        if batch:
            yield batch

    def train_all(self, probes: Sequence[Training[Item]]) -> list[Tuned]:
        """Takes N trainings, in batches."""
        tuned: dict[int, Tuned] = {}
        for window in windows(len(probes), self.sizes.window):
            tuned |= self._trained(probes, list(window))
        return [tuned[i] for i in range(len(probes))]

    @property
    def max_trainings(self) -> int:
        """The window."""
        return self.sizes.window

    @property
    def bytes_per_training(self) -> int:
        """Bytes of one delta, where it grows with the model."""
        return 0

    def accepts(self, delta: Mapping[str, Tensor]) -> bool:
        """Whether a delta holds parameters and not factors of them."""
        return not any(":" in name for name in delta)

    def _trained(self, probes: Sequence[Training[Item]], indices: list[int]) -> dict[int, Tuned]:
        tuned: dict[int, Tuned] = {}
        for batch in self._batches(indices, probes):
            tuned |= dict(zip(batch, self.train([probes[i] for i in batch]), strict=True))
        return tuned
