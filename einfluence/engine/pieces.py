"""Some cells of a block: each training is put to queries of its own, in pieces that several trainings share."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from torch import Tensor

from einfluence.engine.contract import Engine, ReadsEach
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

    What it has not read has a log-probability of NaN, and 0 for the rest. After a training that changed nothing, all
    queries have the base's scores, to the last bit, and so have those that a training of embeddings does not reach.
    After others, an engine that puts queries of its own to each training does not read the base along the same path;
    the rounding of two paths is about that of one.

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
            still = [i for i in good if tuned[i].update_norm == 0 or not probes[i].steps]
            deltas = {i: tuned[i].delta for i in good if i not in still}
            after = {i: before for i in still} | self._read(before, probes, queries, deltas)
            each = (time.perf_counter() - begun) / len(window)
            for i in window:
                yield MeasuredRow(i, replace(tuned[i], seconds=each), after.get(i))

    def _read(
        self,
        before: Scores,
        probes: Sequence[Training[Item]],
        queries: Sequence[Item],
        deltas: Mapping[int, dict[str, Tensor]],
    ) -> dict[int, Scores]:
        """The scores after trainings that changed something: each training's queries at once, or piece by piece."""
        pieces, after = only(self.pieces, list(deltas)), {i: _unread(len(queries)) for i in deltas}
        if isinstance(self.engine, ReadsEach) and self.engine.reads_each:
            cells = wanted(pieces, len(deltas), len(queries))
            reached = np.array([self.engine.reached(delta, queries) for delta in deltas.values()], dtype=np.bool_)
            reached = reached.reshape(cells.shape)
            for scores, still in zip(after.values(), cells & ~reached, strict=True):
                for found, values in zip(vars(scores).values(), vars(before).values(), strict=True):
                    found[still] = values[still]
            own = [np.flatnonzero(row).tolist() for row in cells & reached]
            read = self.engine.read_each(list(deltas.values()), [[queries[query] for query in some] for some in own])
            for scores, places, found in zip(after.values(), own, read, strict=True):
                _put(scores, places, found)
            return after
        numbers = list(deltas)
        for piece in pieces:
            some, places = [numbers[place] for place in piece.trainings], list(piece.queries)
            given = {place: deltas[i] for place, i in enumerate(some)}
            base, rows = self.engine.measure([probes[i] for i in some], [queries[query] for query in places], given)
            rounding = before.logprob[places] - base.logprob  # the base in the same piece
            for row in rows:
                if row.after is not None:
                    _put(after[some[row.probe]], places, row.after, rounding)
        return after

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


def _put(scores: Scores, at: list[int], found: Scores, rounding: np.ndarray | float = 0.0) -> None:
    scores.logprob[at] = found.logprob + rounding
    scores.n_tokens[at], scores.rank[at] = found.n_tokens, found.rank
