"""All queries, laid out once, put to any number of probes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from einfluence.engine.measurement import Scores, TextItem
from einfluence.engine.precise import doubled
from einfluence.engine.structure import shared_copy
from einfluence.engine.text.attention import PackedLayout, TextTable
from einfluence.engine.text.network import Network
from einfluence.engine.text.packing import Ints, PackedRows, pack
from einfluence.models.base import Base


class BaseScorer:
    """Reads texts with a base as it is.

    Args:
        base: A causal LM; it is neither changed nor copied where ``dtype`` is its own.
        dtype: ``float32``, ``float64`` or ``bfloat16``.
        budget: About how many tokens go through the network at once.
    """

    def __init__(self, base: Base, dtype: str, budget: int = 2048) -> None:
        self.network = Network(shared_copy(base.model, getattr(torch, dtype)), base.model)
        self.budget = budget

    def score(self, items: Sequence[TextItem]) -> Scores:
        """Scores of Q texts; what several begin with is computed once."""
        return QueryScorer(self.network, items, self.budget).score_base(1, lambda _: None)


class QueryScorer:
    """The queries in blocks, each put to ``slots`` probes at a time, always equally many.

    What the base says in each slot is read along the very same path. So a probe that changed nothing has influence
    exactly 0, and rounding that both have in common cancels.

    Args:
        network: It, with whatever parameters are put into it, answers.
        queries: Q texts.
        budget: About how many tokens go through the network at once.
        share: Whether queries that begin alike share that beginning.
        alone: Positions in a block from which on it meets one probe at a time.
        keep: Bytes that may be spent on what unchanged lower blocks, and the first changed one's, make of the queries.
    """

    def __init__(
        self,
        network: Network,
        queries: Sequence[TextItem],
        budget: int,
        share: bool = True,
        alone: int = 1 << 40,
        keep: int = 1 << 28,
    ) -> None:
        self.network, self.budget, self.alone = network, budget, alone
        self.n_tokens = np.array([item.n_target for item in queries], dtype=np.int64)
        packs = network.packs
        self.blocks = [Placed(block, network) for block in pack(queries, budget, share and packs, packs)]
        self.before: list[Tensor] = []
        self.slots: list[int] = []
        self.most = 1
        self.logprob = np.zeros(len(queries))
        size = sum(block.tokens for block in self.blocks) * network.width * network.itemsize
        self._below: dict[Placed, Tensor] | None = {} if network.start and size <= keep else None
        self._first: dict[Placed, dict[str, Tensor]] | None = {} if 3 * size <= keep else None

    def score_base(self, most: int, put: Callable[[int], None]) -> Scores:
        """Puts the queries to the base, in as many slots a block as probes will have.

        Args:
            most: How many probes there will be at a time.
            put: Called with a number of slots; puts so many probes in that change nothing.
        """
        self.most = most
        rank = np.ones(len(self.n_tokens), dtype=np.int64)
        for block in self.blocks:
            rounds = -(-most * block.tokens // self.budget)
            slots = 1 if block.tokens >= self.alone else -(-most // max(rounds, 1))
            put(slots)
            logprobs, ranks = self._put(block, slots)
            self.slots.append(slots)
            self.before.append(logprobs)
            np.add.at(self.logprob, block.owner, logprobs[0].cpu().numpy())
            np.maximum.at(rank, block.owner, ranks[0].cpu().numpy())
        return Scores(self.logprob, self.n_tokens, rank)

    def score(self, count: int, put: Callable[[int, int], None]) -> list[Scores]:
        """Puts the queries to ``count`` probes.

        Args:
            count: At least as many as :meth:`score_base` was given.
            put: Called with ``begin`` and ``end``; puts these probes in.
        """
        change = np.zeros((count, len(self.n_tokens)))
        rank = np.ones((count, len(self.n_tokens)), dtype=np.int64)
        for block, slots, before in zip(self.blocks, self.slots, self.before, strict=True):
            for begin in range(0, count, slots):
                end = min(begin + slots, count)
                first = end - slots  # the last batch is as large as the others: it goes back to probes already done
                put(first, end)
                logprobs, ranks = self._put(block, slots)
                moved, ranks = (logprobs - before).cpu().numpy(), ranks.cpu().numpy()
                for i in range(begin, end):
                    np.add.at(change[i], block.owner, moved[i - first])
                    np.maximum.at(rank[i], block.owner, ranks[i - first])
        return [Scores(self.logprob + change[i], self.n_tokens, rank[i]) for i in range(count)]

    @torch.inference_mode()
    def _put(self, block: Placed, slots: int) -> tuple[Float64[Tensor, "{slots} K"], Int64[Tensor, "{slots} K"]]:
        """Log-probabilities and ranks of the targets of a block."""
        network = self.network
        if network.start:
            network.context.resume = self._lower(block)
        network.context.same = True
        network.context.first = {} if self._first is None else self._first.setdefault(block, {})
        try:
            ids = block.ids.repeat(slots, 1)
            logits = network.logits(ids, block.positions, block.layout, block.answers.expand(slots, -1))
        finally:
            network.context.resume, network.context.first, network.context.same = None, {}, False
        logits = logits.view(slots, -1, logits.shape[-1])
        return nats_and_ranks(logits, block.reads, block.targets, block.each_once)

    def _lower(self, block: Placed) -> Tensor:
        if self._below is None:
            return self.network.below(block.ids, block.positions, block.layout)
        if block not in self._below:
            self._below[block] = self.network.below(block.ids, block.positions, block.layout)
        return self._below[block]


def nats_and_ranks(
    logits: Float[Tensor, "slots R vocabulary"],
    reads: Int64[Tensor, " K"],
    targets: Int64[Tensor, " K"],
    each_once: bool = False,
) -> tuple[Float64[Tensor, "slots K"], Int64[Tensor, "slots K"]]:
    """Log-probabilities and ranks of K targets, each read from one of R logits; from each in order, or from any."""
    logits = logits if logits.dtype == torch.float64 else logits.float()
    scratch = logits.log_softmax(-1)
    logprobs = doubled(scratch[:, reads, targets])
    chosen = logits[:, reads, targets]
    if each_once:  # counted in the scratch, as floats: several times faster than summing truth values
        return logprobs, torch.gt(logits, chosen[..., None], out=scratch).sum(-1).long() + 1
    return logprobs, (logits[:, reads] > chosen[..., None]).sum(-1) + 1


class Placed:
    """A block's integers as tensors on the network's device.

    Args:
        block: As laid out.
        network: If it packs, ids are (1, L) without what fills up; else (rows, length).
    """

    def __init__(self, block: PackedRows, network: Network) -> None:
        def tensor(values: Ints) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(values)).to(network.device)

        true = block.true
        rows, width = block.ids.shape
        groups, shared = block.prefix.shape
        self.owner = block.owner
        self.positions: Tensor | None
        self.layout = PackedLayout([TextTable(groups, shared, rows, width, tensor(block.prefix_length))])
        answers = block.answers + groups * shared
        if network.packs:
            token = np.cumsum(true) - 1  # the token in each place; where there is none, an earlier one
            ids = np.concatenate([block.prefix.ravel(), block.ids.ravel()])
            self.ids, self.positions = tensor(ids[true])[None], tensor(block.positions[true])[None]
            self.answers = tensor(token[answers])[None]
            if not true.all():
                self.layout.taken, self.layout.places = tensor(np.maximum(token, 0)), tensor(np.flatnonzero(true))
        else:
            self.ids, self.positions, self.answers = tensor(block.ids), None, tensor(answers)[None]
        self.tokens = self.ids.numel()
        self.reads, self.targets = tensor(block.reads), tensor(block.targets)
        self.each_once = len(block.reads) == len(block.answers) and bool((np.diff(block.reads) == 1).all())
