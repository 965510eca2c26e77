"""LoRA for many text probes at once: their adapters are trained in one batch."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from einfluence.engine.batch_sizes import Sizes, default_sizes
from einfluence.engine.checkpointing import blocks_of, checkpointed
from einfluence.engine.descent import by_part, descend, split
from einfluence.engine.measurement import Item, Scores, Tuned
from einfluence.engine.outcomes import outcomes
from einfluence.engine.schedule import Loss, Training
from einfluence.engine.structure import shared_copy
from einfluence.engine.text.attention import PackedLayout, use_layout
from einfluence.engine.text.engine import Scorer, TextEngine
from einfluence.engine.text.lora_weights import LoraWeights
from einfluence.engine.text.network import ForwardContext, Network, first_changed
from einfluence.engine.text.training_batch import TrainingBatch
from einfluence.models.base import Base
from einfluence.spec import Recipe


class LoraEngine(TextEngine):
    """Batched LoRA for a causal LM.

    Args:
        base: The model; it is neither changed nor copied where the recipe keeps its dtype.
        recipe: With LoRA.
        seed: Of the adapters' start values.
        sizes: Batch sizes.
        share: Whether queries that begin alike share that beginning.
    """

    def __init__(self, base: Base, recipe: Recipe, seed: int, sizes: Sizes | None = None, share: bool = True) -> None:
        self.lora = LoraWeights(base, recipe, seed)
        model = shared_copy(base.model, getattr(torch, recipe.dtype))
        context = ForwardContext()
        self.lora.patch(model, context)
        names = {layer.name + ".weight" for layer in self.lora.layers}
        named = dict(model.named_parameters(remove_duplicate=False))
        self.norms = {name: named[name].norm().item() for name in names}
        network = Network(model, base.model, first_changed(model, base.model, names), context)
        self.lora.find_first(network)
        self.checkpointed = blocks_of(base, model)[network.start :]  # those before it are left out
        numbers = sum(layer.start.numel() + layer.out * len(layer.start) for layer in self.lora.layers)
        super().__init__(network, recipe, sizes or default_sizes(model, numbers, 64), share)

    @property
    def bytes_per_training(self) -> int:
        """Bytes of A and B."""
        return 4 * sum(layer.start.numel() + layer.out * len(layer.start) for layer in self.lora.layers)

    def install_base(self, probes: int) -> None:
        """Puts in N probes that are the base."""
        self.lora.put(self.lora.fresh(probes))

    def score_trained(self, scorer: Scorer, deltas: list[dict[str, Tensor]]) -> list[Scores]:
        """Puts the queries to as many probes as the scorer expects, or more."""
        values = self.lora.stack(list(deltas))
        return scorer.score(len(deltas), lambda begin, end: self.lora.put([value[begin:end] for value in values]))

    def train(self, probes: Sequence[Training[Item]]) -> list[Tuned]:
        """Takes N trainings of one rhythm at once; what one does never reaches another."""
        values = [value.requires_grad_(True) for value in self.lora.fresh(len(probes))]
        parts: list[_Part] = []

        def gradients(losses: Sequence[Loss], new: bool) -> tuple[Tensor, Sequence[Tensor]]:
            if new:
                parts[:] = [self._part(losses, slots) for slots in split(losses, self.sizes.train)]
            return by_part(parts, values, self._gradients)

        trace = descend(self.recipe, probes, values, gradients)
        self.lora.put(None)
        values = [value.detach() for value in values]
        pick = partial(self.lora.pick, values)
        return outcomes(trace, self.recipe, self.lora.update_norms(values), self.norms, pick)

    def _part(self, losses: Sequence[Loss], slots: list[int]) -> _Part:
        batch = TrainingBatch.of([losses[slot] for slot in slots], self.device)
        part = _Part(slots, batch, PackedLayout.of_rows(batch.rows, batch.width))
        if self.network.start:
            part.resume = self.network.below(batch.ids[:1] if batch.same else batch.ids, batch.positions, part.layout)
        return part

    def _gradients(
        self, part: _Part, values: list[Float[Tensor, "N ..."]]
    ) -> tuple[Float[Tensor, " N"], Sequence[Float[Tensor, "N ..."]]]:
        """A part's losses, and the gradients of the adapters."""
        self.lora.put(values)
        context, batch = self.network.context, part.batch
        context.resume, context.first, context.same = part.resume, part.first, batch.same
        try:
            with checkpointed(self.checkpointed, lambda: _followed(context, replace(context), part.layout)):
                loss = batch.loss(self.network.logits(batch.ids, batch.positions, part.layout, batch.answers))
            # What a text does not pass has no gradient; there B stays zero, so A may stay or decay as it likes.
            found = torch.autograd.grad(loss.sum(), values, allow_unused=True, materialize_grads=True)
        finally:
            context.resume, context.first, context.same = None, {}, False
        return loss, found


@contextmanager
def _followed(context: ForwardContext, then: ForwardContext, layout: PackedLayout) -> Generator[None]:
    """Lets a block that is run again follow what it followed before; the forward pass is over by then."""
    now = replace(context)
    vars(context).update(vars(then))
    try:
        with use_layout(layout):
            yield
    finally:
        vars(context).update(vars(now))


@dataclass(eq=False)
class _Part:
    """What is read at once in one step.

    Args:
        slots: Which of the trainings.
        batch: Their texts.
        layout: Which token sees which.
        resume: What enters the first block that differs from the base's.
        first: What layers behind no adapter make of the texts; see :class:`ForwardContext`.
    """

    slots: list[int]
    batch: TrainingBatch
    layout: PackedLayout
    resume: Float[Tensor, "batch L hidden"] | None = None
    first: dict[str, Float[Tensor, "batch L _"]] = field(default_factory=dict[str, Tensor])
