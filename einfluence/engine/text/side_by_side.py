"""Queries of its own for each of several trainings, in one batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from einfluence.engine.measurement import Scores, TextItem
from einfluence.engine.text.attention import PackedLayout, TextTable
from einfluence.engine.text.lower_blocks import LowerBlocks
from einfluence.engine.text.network import LENGTH, SHARED, Network, close, trial
from einfluence.engine.text.packing import Ints, PackedRows, SideBySide
from einfluence.engine.text.scoring import nats_and_ranks


class SideBySideScorer:
    """Reads a batch whose slots are put to a training each.

    To all but attention the order of tokens is all the same, so those of a slot are a row of the batch, whichever
    tables their texts are in. Rows are filled up to the same number of tokens, and of answers.

    Args:
        network: It, with whatever parameters are put into it, answers.
        batch: The texts of N slots.
        queries: Of each slot, those of its training.
        below: What is known of them where lower blocks are left out.
    """

    def __init__(
        self, network: Network, batch: SideBySide, queries: Sequence[Sequence[TextItem]], below: LowerBlocks
    ) -> None:
        self.network, self.queries, self.below = network, queries, below
        n, tables = len(queries), batch.tables
        true = np.concatenate([table.true for table in tables])
        slots = np.concatenate([table.put_to for table in tables])[true]
        at, width = _side_by_side(slots, n)
        tokens, positions = np.zeros((2, n * width), dtype=np.int64)
        tokens[at] = np.concatenate([table.tokens for table in tables])[true]
        positions[at] = np.concatenate([table.positions for table in tables])[true]
        taken, places = np.zeros(len(true), dtype=np.int64), np.zeros(n * width, dtype=np.int64)
        taken[true], places[at] = at, np.flatnonzero(true)

        starts = np.cumsum([0, *(len(table.answers) for table in tables[:-1])])
        reads = np.concatenate([table.reads + start for table, start in zip(tables, starts, strict=True)])
        answered = taken[_places(tables)]
        self.slot = (answered // width)[reads]
        self.owner = np.concatenate([table.owner for table in tables])
        column, self.most = _side_by_side(answered // width, n)
        answers = _filled(answered % width, column, n, self.most)

        def tensor(values: Ints) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(values)).to(network.device)

        self.ids, self.positions = tensor(tokens.reshape(n, width)), tensor(positions.reshape(n, width))
        self.answers = tensor(answers)
        self.reads, self.each_once = tensor(column[reads]), len(reads) == len(answered)
        self.targets = tensor(np.concatenate([table.targets for table in tables]))
        nodes = np.zeros(n * width, dtype=np.int64)
        if network.start:
            nodes[at] = np.concatenate([below.nodes(table) for table in tables])[true]
        self.nodes = tensor(nodes.reshape(n, width))
        placed = [
            TextTable(*table.prefix.shape, *table.ids.shape, lengths=tensor(table.prefix_length)) for table in tables
        ]
        self.layout = PackedLayout(placed, tensor(taken), tensor(places), joined=True)

    def score(self, count: int, put: Callable[[int, int], None]) -> list[Scores]:
        """The scores of each slot's queries; those that the batch does not have are 0.

        Args:
            count: N.
            put: Called with 0 and N; puts the trainings in.
        """
        put(0, count)
        nats, ranks = (found[0].cpu().numpy() for found in self._read())
        scores = [blank_scores(queries) for queries in self.queries]
        for slot, own in enumerate(scores):
            read = self.slot == slot
            np.add.at(own.logprob, self.owner[read], nats[read])
            np.maximum.at(own.rank, self.owner[read], ranks[read])
        return scores

    @torch.inference_mode()
    def _read(self) -> tuple[Float64[Tensor, "1 K"], Int64[Tensor, "1 K"]]:
        network = self.network
        if network.start:
            known = self.below.entering(self.nodes)
            anew = known is None
            network.context.resume = network.below(self.ids, self.positions, self.layout) if anew else known
        try:
            logits = network.logits(self.ids, self.positions, self.layout, self.answers)
        finally:
            network.context.resume, network.context.first = None, {}
        if self.each_once:
            reads = torch.arange(len(self.reads), device=network.device)
            return nats_and_ranks(logits.index_select(0, self.reads)[None], reads, self.targets, True)
        return nats_and_ranks(logits[None], self.reads, self.targets)


def joins(network: Network) -> bool:
    """Whether texts that are rows of a batch, not all beginning at its first token, say the same as elsewhere.

    Two probes that change nothing have to be put in.
    """
    if network.packs and network.structure.joins is None:
        network.structure.joins = _joins(network)
    return network.packs and bool(network.structure.joins)


@torch.no_grad()
def _joins(network: Network) -> bool:
    ids = trial(network.origin)[:2].to(network.device)
    at = torch.arange(LENGTH, device=network.device)
    rows, positions = torch.zeros((2, 2, LENGTH + SHARED), dtype=torch.long, device=network.device)
    rows[0, :LENGTH], rows[1, SHARED:] = ids
    positions[0, :LENGTH], positions[1, SHARED:] = at, at
    taken = torch.cat([at, at + LENGTH + 2 * SHARED])
    places = torch.zeros(rows.numel(), dtype=torch.long, device=network.device)
    places[taken] = torch.arange(len(taken), device=network.device)
    layout = PackedLayout([TextTable(rows=2, width=LENGTH)], taken, places, joined=True)
    try:
        truth = network.logits(ids, at[None], PackedLayout.of_rows(width=LENGTH), at.expand(2, -1))
        network.context.first = {}
        return close(network.logits(rows, positions, layout, torch.stack([at, at + SHARED])), truth)
    except Exception:  # whatever looks at more than a token
        return False
    finally:
        network.context.first = {}


def blank_scores(queries: Sequence[TextItem]) -> Scores:
    """What nothing was read of yet."""
    counts = np.array([query.n_target for query in queries], dtype=np.int64)
    return Scores(np.zeros(len(queries)), counts, np.ones(len(queries), dtype=np.int64))


def _places(tables: Sequence[PackedRows]) -> Ints:
    """The places of all answers."""
    found: list[Ints] = []
    end = 0
    for table in tables:
        found.append(table.answers + end + table.prefix.size)
        end += table.prefix.size + table.ids.size
    return np.concatenate(found)


def _side_by_side(slots: Ints, count: int) -> tuple[Ints, int]:
    """Where each of some things is when those of each slot are a row, and how long the rows are."""
    order = np.argsort(slots, kind="stable")
    sizes = np.bincount(slots, minlength=count)
    rank = np.empty(len(slots), dtype=np.int64)
    rank[order] = np.arange(len(slots)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    width = int(sizes.max())
    return slots * width + rank, width


def _filled(answers: Ints, at: Ints, count: int, most: int) -> Ints:
    """The answers' places in their rows, (count, most); what a row lacks are other places of it."""
    filled = np.full(count * most, -1, dtype=np.int64)
    filled[at] = answers
    rows = filled.reshape(count, most)
    for row in rows:
        lacking = int((row < 0).sum())
        if lacking:
            row[row < 0] = np.setdiff1d(np.arange(most), row)[:lacking]
    return rows
