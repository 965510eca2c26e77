"""Training by the definition, then all queries at once: for what is neither LoRA nor low-rank (full-parameter Adam)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import cast

import torch
from torch import Tensor, nn

from einfluence.engine import definition
from einfluence.engine.batch_sizes import Sizes
from einfluence.engine.measurement import Item, Scores, Tuned
from einfluence.engine.schedule import Training
from einfluence.engine.structure import shared_copy
from einfluence.engine.text.attention import PackedLayout
from einfluence.engine.text.engine import Scorer, TextEngine
from einfluence.engine.text.network import Network, first_changed, input_embedding, trial
from einfluence.models.base import Base
from einfluence.spec import Recipe


class OneByOneEngine(TextEngine):
    """Puts each probe's parameters into one network, which then meets the queries in blocks.

    Args:
        base: The model; of the parameters that are trained one copy is held.
        recipe: With any adapter but LoRA.
        seed: Without meaning here.
        sizes: Batch sizes.
        share: Whether queries that begin alike share that beginning.
    """

    def __init__(self, base: Base, recipe: Recipe, seed: int, sizes: Sizes | None = None, share: bool = True) -> None:
        self.base, self.seed = base, seed
        model = shared_copy(base.model, getattr(torch, recipe.dtype))
        names = definition.trained_names(base, recipe)
        named = dict(model.named_parameters())
        self.start = {name: named[name].detach() for name in names}
        self.own = {name: value.clone() for name, value in self.start.items()}
        places = {id(named[name]): name for name in names}
        for module in model.modules():
            for which, parameter in list(module.named_parameters(recurse=False, remove_duplicate=False)):
                if id(parameter) in places:
                    setattr(module, which, nn.Parameter(self.own[places[id(parameter)]], requires_grad=False))
        start = first_changed(model, base.model, names)
        super().__init__(Network(model, base.model, start), recipe, sizes or Sizes(window=1, alone=1), share)

    @property
    def bytes_per_training(self) -> int:
        """Bytes of what is trained."""
        return sum(value.numel() * value.element_size() for value in self.start.values())

    def install_base(self, probes: int) -> None:
        """Puts the base in."""
        self._put(self.start)

    def score_trained(self, scorer: Scorer, deltas: list[dict[str, Tensor]]) -> list[Scores]:
        """Scores the queries after each probe, one probe at a time."""
        return scorer.score(len(deltas), lambda begin, end: self._put(deltas[begin]))

    def changed_tokens(self, delta: dict[str, Tensor]) -> set[int] | None:
        """The tokens whose embeddings a training has changed, where it has changed nothing else; None where it has."""
        name = input_embedding(self.network.model)
        if set(self.own) != {name} or not self.reads_rows:
            return None
        return set(cast("list[int]", (delta[name] != self.start[name]).any(-1).nonzero()[:, 0].tolist()))

    @cached_property
    @torch.no_grad()
    def reads_rows(self) -> bool:
        """Whether a text says the same whatever the embeddings of other tokens are: no output layer reads them."""
        ids = trial(self.network.origin)[:1].to(self.device)
        at = torch.arange(ids.shape[1], device=self.device)[None]
        layout = PackedLayout.of_rows(width=ids.shape[1])
        found: list[Tensor] = []
        (start,) = self.start.values()
        other = torch.ones(len(start), dtype=torch.bool, device=self.device).index_fill(0, ids[0], value=False)
        for values in (start, torch.where(other[:, None], start + 1, start)):
            self._put(dict.fromkeys(self.own, values))
            found.append(self.network.logits(ids, at, layout, at))
        return bool(other.any()) and found[0].equal(found[1])

    def train(self, probes: Sequence[Training[Item]]) -> list[Tuned]:
        """Takes N trainings, one after the other."""
        return [definition.train(self.base, self.recipe, probe, self.seed) for probe in probes]

    def _put(self, values: dict[str, Tensor]) -> None:
        for name, own in self.own.items():
            own.copy_(values[name])
