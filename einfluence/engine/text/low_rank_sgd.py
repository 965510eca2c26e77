"""Full-parameter SGD on many texts at once, held as low-rank factors."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from einfluence.engine.batch_sizes import Sizes, default_sizes
from einfluence.engine.contract import Unsupported
from einfluence.engine.definition import make_optimizer, trained_names
from einfluence.engine.measurement import Item, Scores, Tuned
from einfluence.engine.outcomes import TrainingTrace, outcomes, set_gradients
from einfluence.engine.schedule import Step, Training, loss_of
from einfluence.engine.structure import shared_copy
from einfluence.engine.text.attention import PackedLayout
from einfluence.engine.text.engine import Scorer, TextEngine
from einfluence.engine.text.low_rank_weights import LowRankMatrix, LowRankWeights, SgdCoefficients
from einfluence.engine.text.network import Network, first_changed, input_embedding
from einfluence.engine.text.training_batch import TrainingBatch
from einfluence.models.base import Base
from einfluence.spec import Recipe, Sgd

Pair = tuple[Float[Tensor, "N _ _"], Float[Tensor, "N _ _"]]  # (N, rows, in) and (N, rows, out) of one matrix


class LowRankSgdEngine(TextEngine):
    """Full-parameter SGD (or of some parameters) for a causal LM.

    Args:
        base: The model; it is neither changed nor copied where the recipe keeps its dtype.
        recipe: With SGD and any adapter but LoRA.
        seed: Without meaning here.
        sizes: Batch sizes.
        share: Whether queries that begin alike share that beginning.

    Raises:
        Unsupported: For a model whose texts cannot be laid end to end, or with trained layers that are not known.
    """

    def __init__(self, base: Base, recipe: Recipe, seed: int, sizes: Sizes | None = None, share: bool = True) -> None:
        model = shared_copy(base.model, getattr(torch, recipe.dtype))
        names = trained_names(base, recipe)
        self.norms = {name: p.norm().item() for name, p in model.named_parameters() if name in names}
        self.factors = LowRankWeights(model, names)
        self.factors.begin(1, False)
        network = Network(model, base.model, first_changed(model, base.model, names))
        if not network.packs:
            raise Unsupported(
                "base", f"{type(base.model).__name__}", "a model that uses transformers' attention interface"
            )
        found = network.structure
        if found.writes is None:
            found.writes = self._written_over(network)
        for matrix in self.factors.matrices.values():
            matrix.copies = found.writes
        numbers = sum(p.numel() for name, p in model.named_parameters() if name in names)
        own = replace(default_sizes(model, numbers, 32), alone=256)
        super().__init__(network, recipe, sizes or own, share)

    def _written_over(self, network: Network) -> bool:
        """Whether the model writes into what a product gave (OLMo clips so), instead of making a new tensor."""
        self.factors.begin(1, True)
        try:
            network.forward_two_tokens()
            return any(out._version > 0 for m in self.factors.matrices.values() for _, out in m.seen)
        except RuntimeError:  # writing into a leaf is an error
            return True
        finally:
            self.factors.begin(1, False)

    def accepts(self, delta: Mapping[str, Tensor]) -> bool:
        """Whether a delta holds factors, as far as there are matrices."""
        return any(":" in name for name in delta) == bool(self.factors.matrices)

    def install_base(self, probes: int) -> None:
        """Puts in N probes that are the base."""
        self.factors.begin(probes, False)

    def score_trained(self, scorer: Scorer, deltas: list[dict[str, Tensor]]) -> list[Scores]:
        """Puts the queries to as many probes as the scorer expects, or more."""
        return scorer.score(len(deltas), lambda begin, end: self.factors.put(deltas[begin:end]))

    def changed_tokens(self, delta: dict[str, Tensor]) -> set[int] | None:
        """The tokens whose embeddings a training has changed, where it has changed nothing else; None where it has."""
        name = input_embedding(self.network.model)
        if set(delta) != {f"{name}:{part}" for part in ("kept", "tokens", "rows")} or delta[f"{name}:kept"] != 1.0:
            return None
        moved = delta[f"{name}:rows"].any(-1)
        return set(cast("list[int]", delta[f"{name}:tokens"][moved].tolist()))

    def train(self, probes: Sequence[Training[Item]]) -> list[Tuned]:
        """Takes N trainings at once, each on all its samples at every step; what one does never reaches another."""
        begin = time.perf_counter()
        recipe, network, n = self.recipe, self.network, len(probes)
        steps = len(probes[0].steps)
        batch = TrainingBatch.of(
            [loss_of(probe, Step(tuple(range(len(probe.items))))) for probe in probes], self.device
        )
        layout = PackedLayout.of_rows(batch.rows, batch.width)
        values = [value.requires_grad_() for value in self.factors.begin(n, True)]
        if network.start and steps:
            network.context.resume = network.below(batch.ids, batch.positions, layout)
        matrices = list(self.factors.matrices.values())
        for matrix in matrices:
            matrix.seen.clear()
        schedule, history = (
            SgdCoefficients(cast("Sgd", recipe.optimizer)),
            {matrix.name: list[tuple[Tensor, Tensor]]() for matrix in matrices},
        )
        optimizer: torch.optim.Optimizer | None = None
        losses: list[Tensor] = []
        first_norm = torch.full((n,), math.nan)
        for step in range(steps):
            loss = batch.loss(network.logits(batch.ids, batch.positions, layout, batch.answers))
            losses.append(loss.detach())
            rows = [matrix.rows for matrix in matrices if matrix.rows is not None]
            outputs = [out for matrix in matrices for _, out in matrix.seen]
            wanted = [*values, *rows, *outputs]
            gradients = cast("tuple[Tensor | None, ...]", torch.autograd.grad(loss.sum(), wanted, allow_unused=True))
            small, signals = gradients[: len(values) + len(rows)], gradients[len(values) + len(rows) :]
            pairs = _pairs(matrices, signals)
            norm = first_norm
            if step == 0 or recipe.clip is not None:
                norm = self._norm(matrices, pairs, dict(zip(map(id, wanted), gradients, strict=True)), values)
            first_norm = norm if step == 0 else first_norm
            factor = torch.ones_like(norm) if recipe.clip is None else (recipe.clip / (norm + 1e-6)).clamp(max=1.0)
            if optimizer is None and values + rows:
                optimizer = make_optimizer(recipe, [*values, *rows], fused=True)
            if optimizer is not None:
                learn = [(value, g) for value, g in zip([*values, *rows], small, strict=True) if g is not None]
                by_probe = [g * factor.view(-1, *[1] * (g.dim() - 1)).to(g) for _, g in learn]
                set_gradients([v for v, _ in learn], [g for _, g in learn] if recipe.clip is None else by_probe)
                optimizer.step()
            schedule.step()
            for matrix, pair in zip(matrices, pairs, strict=True):
                if pair is not None:
                    x, g = pair
                    g = g if recipe.clip is None else g * factor.view(-1, 1, 1).to(g)
                    history[matrix.name].append((x, g))
                past = history[matrix.name]
                if past or matrix.rows is not None:  # torch lets what no text passes be, weight decay or not
                    matrix.kept = schedule.kept
                if past:
                    matrix.down = torch.cat([x for x, _ in past], 1)
                    matrix.up = torch.cat([s * g for s, (_, g) in zip(schedule.shares, past, strict=True)], 1)
                matrix.seen.clear()
        network.context.resume = None
        trace = TrainingTrace.of(losses, first_norm, n, (time.perf_counter() - begin) / n)
        with torch.no_grad():
            updates = self._updates(values)
            return outcomes(trace, recipe, updates, self.norms, self.factors.export)

    def _norm(
        self,
        matrices: Sequence[LowRankMatrix],
        pairs: Sequence[Pair | None],
        gradients: Mapping[int, Tensor | None],
        values: Sequence[Float[Tensor, "N ..."]],
    ) -> Float[Tensor, " N"]:
        learn = [g for g in (gradients[id(v)] for v in values) if g is not None]
        total = sum((g.flatten(1).square().sum(1) for g in learn), torch.tensor(0.0))
        for matrix, pair in zip(matrices, pairs, strict=True):
            down, up = pair or (None, None)
            rows = None if matrix.rows is None else gradients[id(matrix.rows)]
            total = total + matrix.square_norm(down, up, rows, 1.0)
        return total.sqrt()

    def _updates(self, values: Sequence[Float[Tensor, "N ..."]]) -> dict[str, Float[Tensor, " N"]]:
        found: dict[str, Tensor] = {}
        for (name, start), value in zip(self.factors.small.items(), values, strict=True):
            found[name] = (value - start).flatten(1).norm(dim=1)
        for name, m in self.factors.matrices.items():
            found[name] = m.square_norm(m.down, m.up, m.rows, m.kept).sqrt()
        return found


def _pairs(matrices: Sequence[LowRankMatrix], signals: Sequence[Tensor | None]) -> list[Pair | None]:
    """For each matrix that was multiplied with: its inputs and the gradients of its outputs."""
    left = list(signals)
    found: list[Pair | None] = []
    for matrix in matrices:
        mine, left = left[: len(matrix.seen)], left[len(matrix.seen) :]
        mine = [torch.zeros_like(out) if g is None else g for g, (_, out) in zip(mine, matrix.seen, strict=True)]
        x = torch.cat([x for x, _ in matrix.seen], 1) if mine else None
        found.append(None if x is None else (x, torch.cat(mine, 1)))
    return found
