"""Training by the definition, then all queries at once: for what is neither LoRA nor low-rank (full-parameter Adam)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from einfluence.engine import serial
from einfluence.engine.anatomy import shared_copy
from einfluence.engine.exam import Exam
from einfluence.engine.items import Item, Scores, Tuned
from einfluence.engine.network import Network, first_changed
from einfluence.engine.schedule import Training
from einfluence.engine.text import BatchedText, Sizes
from einfluence.models.base import Base
from einfluence.spec import Recipe


class SwappedEngine(BatchedText):
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
        names = serial.trained_names(base, recipe)
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
    def held(self) -> int:
        """Bytes of what is trained."""
        return sum(value.numel() * value.element_size() for value in self.start.values())

    def blank(self, probes: int) -> None:
        """Puts the base in."""
        self._put(self.start)

    def examine(self, exam: Exam, deltas: list[dict[str, Tensor]]) -> list[Scores]:
        """Puts the queries to each probe in turn."""
        return exam.take(len(deltas), lambda begin, end: self._put(deltas[begin]))

    def train(self, probes: Sequence[Training[Item]]) -> list[Tuned]:
        """Takes N trainings, one after the other."""
        return [serial.train(self.base, self.recipe, probe, self.seed) for probe in probes]

    def _put(self, values: dict[str, Tensor]) -> None:
        for name, own in self.own.items():
            own.copy_(values[name])
