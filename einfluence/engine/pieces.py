"""Some cells of a block: each training is put to queries of its own, in pieces that several trainings share."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from torch import Tensor

from einfluence.engine.contract import Engine
from einfluence.engine.descent import windows
from einfluence.engine.measurement import Item, MeasuredRow, Measurement, Scores, Tuned
from einfluence.engine.schedule import Training


class Piece(NamedTuple):
    """Queries that some trainings are put to, both counted from 0. No cell is in two pieces of a block."""

    trainings: tuple[int, ...]
    queries: tuple[int, ...]


def only(pieces: Sequence[Piece], trainings: Sequence[int]) -> list[Piece]:
    """What is left of pieces for some trainings, counted anew in this order; pieces of the same ones are joined."""
    place = {number: index for index, number in enumerate(trainings)}
    joined: dict[tuple[int, ...], list[int]] = {}
    for piece in pieces:
        left = tuple(sorted(place[number] for number in piece.trainings if number in place))
        if left:
            joined.setdefault(left, []).extend(piece.queries)
    return [Piece(some, tuple(sorted(queries))) for some, queries in joined.items()]


def wanted(pieces: Sequence[Piece], trainings: int, queries: int) -> np.ndarray:
    """Which cells are in pieces, bool (N, Q)."""
    found = np.zeros((trainings, queries), dtype=np.bool_)
    for piece in pieces:
        found[np.ix_(piece.trainings, piece.queries)] = True
    return found


@dataclass(frozen=True)
class Piecewise:
    """An engine that trains as another does, and reads pieces instead of all queries.

    What it has not read has a log-probability of NaN, and 0 for the rest.

    Args:
        engine: Trains and reads.
        pieces: Of the trainings and queries that :meth:`measure` will be given.
    """

    engine: Engine
    pieces: Sequence[Piece]

    def measure(
        self, probes: Sequence[Training[Item]], queries: Sequence[Item], kept: Mapping[int, dict[str, Tensor]]
    ) -> Measurement:
        """As every engine does."""
        before, _ = self.engine.measure([], queries, {})
        return Measurement(before, self._rows(before, probes, queries, kept))

    def _rows(
        self,
        before: Scores,
        probes: Sequence[Training[Item]],
        queries: Sequence[Item],
        kept: Mapping[int, dict[str, Tensor]],
    ) -> Iterator[MeasuredRow]:
        for window in windows(len(probes), max(self.engine.max_trainings, 1)):
            begun = time.perf_counter()
            fresh = [i for i in window if i not in kept]
            tuned = {i: Tuned(kept[i], [], math.nan, math.nan) for i in window if i in kept}
            tuned |= dict(zip(fresh, self.engine.train_all([probes[i] for i in fresh]), strict=True)) if fresh else {}
            good = [i for i in window if tuned[i].failed is None]
            after = {i: _unread(len(queries)) for i in good}
            for piece in only(self.pieces, good):
                some = [good[place] for place in piece.trainings]
                deltas = {place: tuned[i].delta for place, i in enumerate(some)}
                read = [queries[query] for query in piece.queries]
                own, rows = self.engine.measure([probes[i] for i in some], read, deltas)
                moved = before.logprob[list(piece.queries)] - own.logprob  # the base in the same piece
                for row in rows:
                    if row.after is not None:
                        _put(after[some[row.probe]], piece.queries, row.after, moved)
            each = (time.perf_counter() - begun) / len(window)
            for i in window:
                yield MeasuredRow(i, replace(tuned[i], seconds=each), after.get(i))

    def train_all(self, probes: Sequence[Training[Item]]) -> list[Tuned]:
        """As the other."""
        return self.engine.train_all(probes)

    def accepts(self, delta: Mapping[str, Tensor]) -> bool:
        """As the other."""
        return self.engine.accepts(delta)

    @property
    def max_trainings(self) -> int:
        """As of the other."""
        return self.engine.max_trainings

    @property
    def bytes_per_training(self) -> int:
        """As of the other."""
        return self.engine.bytes_per_training


def _unread(queries: int) -> Scores:
    return Scores(np.full(queries, np.nan), np.zeros(queries, np.int64), np.zeros(queries, np.int64))


def _put(scores: Scores, places: Sequence[int], found: Scores, moved: np.ndarray) -> None:
    at = list(places)
    scores.logprob[at] = found.logprob + moved
    scores.n_tokens[at], scores.rank[at] = found.n_tokens, found.rank
