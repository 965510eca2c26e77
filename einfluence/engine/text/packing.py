"""Lays out texts for scoring, so that what begins alike is computed once and nothing else is.

Pure integer work: which tokens go through the network, in which blocks, and which logits each text reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from jaxtyping import Bool, Int64

from einfluence.engine.measurement import TextItem

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class PackedRows:
    """Rows that go through the network together: G groups of n rows, each group after a prefix of its own.

    Positions that only fill up hold token 0; nothing reads them.

    Args:
        prefix: Token ids; P is 0 where nothing is shared.
        prefix_length: True lengths.
        ids: Token ids of what follows the prefix.
        length: True lengths; 0 for a row that only pads a group.
        answers: Distinct flat positions in ``ids`` whose logits are read.
        reads: Index into ``answers``; ``targets`` token ids; ``owner`` index of the query.
        slots: Which of several trainings each row is put to.
    """

    prefix: Int64[Ints, "G P"]
    prefix_length: Int64[Ints, " G"]
    ids: Int64[Ints, "rows S"]
    length: Int64[Ints, " rows"]
    answers: Int64[Ints, " R"]
    reads: Int64[Ints, " K"]
    targets: Int64[Ints, " K"]
    owner: Int64[Ints, " K"]
    slots: Int64[Ints, " rows"]

    @property
    def true(self) -> Bool[npt.NDArray[np.bool_], " places"]:
        """Which places of the prefixes and then the rows hold a token."""
        prefix = np.arange(self.prefix.shape[1])[None, :] < self.prefix_length[:, None]
        rows = np.arange(self.ids.shape[1])[None, :] < self.length[:, None]
        return np.concatenate([prefix.ravel(), rows.ravel()])

    @property
    def positions(self) -> Int64[Ints, " places"]:
        """Position ids of these places."""
        prefix = np.broadcast_to(np.arange(self.prefix.shape[1]), self.prefix.shape)
        offset = np.repeat(self.prefix_length, len(self.ids) // len(self.prefix))
        rows = offset[:, None] + np.arange(self.ids.shape[1])[None, :]
        return np.concatenate([prefix.ravel(), rows.ravel()])

    @property
    def tokens(self) -> Int64[Ints, " places"]:
        """Token ids of these places."""
        return np.concatenate([self.prefix.ravel(), self.ids.ravel()])

    @property
    def put_to(self) -> Int64[Ints, " places"]:
        """Slots of these places."""
        prefix = self.slots[:: len(self.ids) // len(self.prefix)]
        return np.concatenate([np.repeat(prefix, self.prefix.shape[1]), np.repeat(self.slots, self.ids.shape[1])])


@dataclass(frozen=True, eq=False)
class SideBySide:
    """Texts that go through the network together, some for each of several trainings.

    Args:
        trainings: Which training each slot is of.
        tables: The texts, by slots; ``owner`` is the index of a query among those of its training.
    """

    trainings: list[int]
    tables: list[PackedRows]


@dataclass
class _Row:
    ids: tuple[int, ...]
    reads: list[tuple[int, int, int]]  # (position, target, query)
    slot: int = 0

    @property
    def first(self) -> int:
        return min(position for position, _, _ in self.reads)


@dataclass
class _Group:
    rows: list[_Row]
    shared: int

    @property
    def longest(self) -> int:
        return max(len(row.ids) for row in self.rows) - self.shared

    @property
    def tokens(self) -> int:
        return sum(len(row.ids) for row in self.rows) - (len(self.rows) - 1) * self.shared


def pack(items: Sequence[TextItem], budget: int, share: bool = True, packed: bool = True) -> list[PackedRows]:
    """Cuts texts into blocks.

    The last token of a text predicts nothing that is scored, so it is left out. Texts whose inputs are equal, or
    where one continues the other, are one row.

    Args:
        items: Q texts.
        budget: About how many positions a block may have; at least one row goes into a block whatever its length.
        share: Whether common beginnings may be computed once.
        packed: Whether what fills up costs nothing but in attention.
    """
    return _tables(_cheapest(items, share), budget, packed)


def pack_each(
    texts: Sequence[Sequence[TextItem]], budget: int, share: bool = True, alone: int = 1 << 40
) -> list[SideBySide]:
    """Cuts the texts of N trainings into batches, in which each training's fill about as many positions.

    Args:
        texts: Of each training its own; few of them are in others' as well.
        budget: About how many positions a batch may have.
        share: Whether common beginnings may be computed once, for each training apart.
        alone: Positions of one training from which on nothing is put beside them.
    """
    each = [
        (sum(group.tokens for group in part), training, part)
        for training, items in enumerate(texts)
        for part in _within(_cheapest(items, share), budget)
    ]
    batches: list[list[tuple[int, list[_Group]]]] = []
    for tokens, training, part in sorted(each, key=lambda one: one[:2]):
        if not batches or tokens >= alone or (len(batches[-1]) + 1) * tokens > budget:
            batches.append([])
        batches[-1].append((training, part))
    return [_side_by_side(batch) for batch in batches]


def _within(groups: list[_Group], budget: int) -> list[list[_Group]]:
    """Runs of groups, none above the budget where it can be helped."""
    parts: list[list[_Group]] = []
    filled = 0
    for group in (part for whole in groups for part in _split(whole, budget)):
        if not parts or filled + group.tokens > budget:
            parts.append([])
            filled = 0
        parts[-1].append(group)
        filled += group.tokens
    return parts


def _side_by_side(batch: list[tuple[int, list[_Group]]]) -> SideBySide:
    for slot, (_, groups) in enumerate(batch):
        for row in (row for group in groups for row in group.rows):
            row.slot = slot
    every = [group for _, groups in batch for group in groups]
    return SideBySide([training for training, _ in batch], _tables(every, 1 << 40, True))


def _cheapest(items: Sequence[TextItem], share: bool) -> list[_Group]:
    rows = _rows(items)
    return _groups(rows) if share else [_Group([row], 0) for row in rows]


def _tables(groups: list[_Group], budget: int, packed: bool) -> list[PackedRows]:
    loose = sorted((row for group in groups if not group.shared for row in group.rows), key=_by_length)
    tables = [_block([_Group(part, 0)]) for part in _cut(loose, budget, packed)]
    sharing = [part for group in groups if group.shared for part in _split(group, budget)]
    sharing.sort(key=lambda group: (len(group.rows), group.longest, group.shared))
    together: list[_Group] = []
    for group in sharing:
        if together and not _fits([*together, group], budget, packed):
            tables.append(_block(together))
            together = []
        together.append(group)
    return tables + ([_block(together)] if together else [])


def _by_length(row: _Row) -> tuple[int, tuple[int, ...]]:
    return len(row.ids), row.ids


def _rows(items: Sequence[TextItem]) -> list[_Row]:
    found: dict[tuple[int, ...], _Row] = {}
    for query, item in enumerate(items):
        row = found.setdefault(item.ids[:-1], _Row(item.ids[:-1], []))
        start = len(item.ids) - item.n_target
        row.reads += [(position - 1, item.ids[position], query) for position in range(start, len(item.ids))]
    rows: list[_Row] = []
    for ids in sorted(found, reverse=True):  # a text comes after those that continue it
        if rows and rows[-1].ids[: len(ids)] == ids:
            rows[-1].reads += found[ids].reads
        else:
            rows.append(found[ids])
    return rows[::-1]


def _groups(rows: list[_Row]) -> list[_Group]:
    """The cheapest cut of the sorted rows into runs that share their beginning, by dynamic programming.

    The cost is positions computed, and two more for each prefix.
    """
    n = len(rows)
    if n == 0:
        return []
    lengths = np.array([len(row.ids) for row in rows], dtype=np.int64)
    total = np.concatenate([[0], np.cumsum(lengths)])
    common = np.array([_common(a.ids, b.ids) for a, b in zip(rows, rows[1:], strict=False)] + [0], dtype=np.int64)
    first = np.array([row.first for row in rows], dtype=np.int64)
    best = np.zeros(n + 1, dtype=np.int64)  # best[i]: cost of rows i and later
    end = np.zeros(n, dtype=np.int64)
    for i in range(n - 1, -1, -1):
        shared = np.minimum.accumulate(np.minimum(first[i:], np.concatenate([[10**9], common[i : n - 1]])))
        alive = int(np.argmax(shared == 0)) if (shared == 0).any() else len(shared)
        j = np.arange(i + 1, i + 1 + max(alive, 1))
        count, p = j - i, shared[: len(j)]
        cost = total[j] - total[i] - (count - 1) * p + 2 * (p > 0) + best[j]
        cost[0] = lengths[i] + best[i + 1]  # alone: nothing to share
        choice = int(np.argmin(cost))
        best[i], end[i] = cost[choice], j[choice]
    groups: list[_Group] = []
    i = 0
    while i < n:
        j = int(end[i])
        shared = int(min(first[i:j].min(), common[i : j - 1].min())) if j - i > 1 else 0
        groups.append(_Group(rows[i:j], shared))
        i = j
    return groups


def _common(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    return next((k for k, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _cut(rows: list[_Row], budget: int, packed: bool) -> list[list[_Row]]:
    """Runs of rows sorted by length, none above the budget."""
    parts: list[list[_Row]] = []
    for row in rows:
        part = parts[-1] if parts else []
        true = sum(len(other.ids) for other in part) + len(row.ids)
        if not part or not _worth((len(part) + 1) * len(row.ids), true, budget, packed):
            parts.append([])
        parts[-1].append(row)
    return parts


def _worth(filled: int, true: int, budget: int, packed: bool) -> bool:
    """Whether a block of ``true`` tokens in ``filled`` places is within the budget and wastes little."""
    return true <= budget and filled <= 2 * true if packed else filled <= budget and filled - true <= max(true // 4, 64)


def _split(group: _Group, budget: int) -> list[_Group]:
    longest = max(group.longest, 1)
    room = max((max(budget, 2 * group.shared) - group.shared) // longest, 1)
    pieces = -(-len(group.rows) // room)
    size = -(-len(group.rows) // pieces)
    rows = sorted(group.rows, key=_by_length)
    return [_Group(rows[start : start + size], group.shared) for start in range(0, len(rows), size)]


def _fits(groups: list[_Group], budget: int, packed: bool) -> bool:
    rows = max(len(group.rows) for group in groups)
    width = max(group.longest for group in groups)
    shared = max(group.shared for group in groups)
    filled = len(groups) * (rows * width + shared)
    true = sum(group.shared + sum(len(row.ids) - group.shared for row in group.rows) for group in groups)
    return _worth(filled, true, budget, packed)


def _block(groups: list[_Group]) -> PackedRows:
    n = max(len(group.rows) for group in groups)
    width = max(group.longest for group in groups)
    shared = max(group.shared for group in groups)
    prefix = np.zeros((len(groups), shared), dtype=np.int64)
    ids = np.zeros((len(groups) * n, width), dtype=np.int64)
    length, slots = np.zeros((2, len(groups) * n), dtype=np.int64)
    reads: list[tuple[int, int, int]] = []
    for g, group in enumerate(groups):
        prefix[g, : group.shared] = group.rows[0].ids[: group.shared]
        for k, row in enumerate(group.rows):
            at = g * n + k
            rest = row.ids[group.shared :]
            ids[at, : len(rest)] = rest
            length[at], slots[at] = len(rest), row.slot
            reads += [(at * width + position - group.shared, target, query) for position, target, query in row.reads]
    table = np.array(reads, dtype=np.int64).reshape(-1, 3)
    answers, index = np.unique(table[:, 0], return_inverse=True)
    prefix_length = np.array([group.shared for group in groups], dtype=np.int64)
    return PackedRows(prefix, prefix_length, ids, length, answers, index.reshape(-1), table[:, 1], table[:, 2], slots)
