"""What blocks that no training changes make of the queries, computed once and laid out in any way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from einfluence.engine.measurement import TextItem
from einfluence.engine.text.network import Network
from einfluence.engine.text.packing import Ints, PackedRows, pack
from einfluence.engine.text.scoring import Placed


class LowerBlocks:
    """What enters the first changed block at each token, which depends on the tokens before it alone.

    Beginnings that texts have in common are one path of a tree, so a token is a node of it, wherever it is laid.

    Args:
        network: Of which blocks may be left out.
        texts: The queries of each training.
        budget: About how many positions go through the network at once.
        keep: Bytes that this may take; beyond them it is computed anew wherever it is needed.
    """

    def __init__(self, network: Network, texts: Sequence[Sequence[TextItem]], budget: int, keep: int = 1 << 28) -> None:
        self._nodes: dict[tuple[int, int], int] = {}
        self._entering: Float[Tensor, "nodes hidden"] | None = None
        if not network.start:
            return
        blocks = pack(list({item.ids: item for some in texts for item in some}.values()), budget)
        nodes = [self.nodes(block)[block.true] for block in blocks]
        if (len(self._nodes) + 1) * network.width * network.itemsize > keep:
            return
        for block, own in zip(blocks, nodes, strict=True):
            placed = Placed(block, network)
            found = network.below(placed.ids, placed.positions, placed.layout)[0]
            if self._entering is None:
                self._entering = found.new_zeros(len(self._nodes) + 1, found.shape[-1])
            self._entering[torch.from_numpy(own).to(found.device)] = found

    def entering(self, nodes: Int64[Tensor, "N L"]) -> Float[Tensor, "N L hidden"] | None:
        """What enters the block; None where it was not kept."""
        return None if self._entering is None else self._entering[nodes]

    def nodes(self, table: PackedRows) -> Int64[Ints, " places"]:
        """The nodes of a table's places, from 1 on; 0 where there is no token."""
        prefix, rows = np.zeros_like(table.prefix), np.zeros_like(table.ids)
        each = len(rows) // len(prefix)
        for group, length in enumerate(table.prefix_length.tolist()):
            prefix[group, :length] = list(self._path(0, table.prefix[group, :length].tolist()))
        for row, length in enumerate(table.length.tolist()):
            group = row // each
            shared = table.prefix_length[group]
            before = int(prefix[group, shared - 1]) if shared else 0
            rows[row, :length] = list(self._path(before, table.ids[row, :length].tolist()))
        return np.concatenate([prefix.ravel(), rows.ravel()])

    def _path(self, node: int, tokens: Sequence[int]) -> Iterator[int]:
        for token in tokens:
            node = self._nodes.setdefault((node, token), len(self._nodes) + 1)
            yield node
