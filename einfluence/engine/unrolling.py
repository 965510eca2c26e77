"""A training as a function of its samples' weights, which can be differentiated step by step.

The engines take the same steps in torch's optimizers, through which no derivative passes. Here the optimizers are
written out as torch defines them, and a state is all that one step hands to the next.
"""

from __future__ import annotations

import math
import warnings
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from einfluence.engine.batch_sizes import memory_budget
from einfluence.engine.descent import by_part
from einfluence.engine.generic import GenericEngine, Part
from einfluence.engine.measurement import Item
from einfluence.engine.schedule import Loss, Step, Training, batch_of
from einfluence.errors import InputError
from einfluence.models.base import Base
from einfluence.recipe import Adam, AdamW, Sgd
from einfluence.spec import Recipe


class State(NamedTuple):
    """All that a step of a training hands to the next.

    Args:
        values: The trained parameters.
        memory: What the optimizer remembers, in blocks as long as ``values``: nothing for plain SGD, momentum, or
            Adam's two moments.
        taken: Steps taken since the optimizer began.
    """

    values: tuple[Tensor, ...]
    memory: tuple[Tensor, ...]
    taken: int = 0

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All of it."""
        return (*self.values, *self.memory)

    def leaves(self) -> State:
        """The same numbers, with respect to which derivatives can be taken."""
        some = [tensor.detach().requires_grad_() for tensor in self.tensors]
        return State(tuple(some[: len(self.values)]), tuple(some[len(self.values) :]), self.taken)


@dataclass(frozen=True)
class _At:
    """One step, and whether its optimizer begins with it."""

    step: Step
    first: bool


class Trajectory:
    """One training of a base.

    Args:
        base: The base; it is left bit-identical.
        recipe: Adapter, optimizer, clipping, dtype.
        training: The steps; weights in it are those that derivatives are taken at.
        seed: Of an adapter's start values.
        engine: One that was made of the same base, recipe and seed.

    Raises:
        InputError: When it cannot be differentiated.
    """

    def __init__(
        self, base: Base, recipe: Recipe, training: Training[Item], seed: int, engine: GenericEngine | None = None
    ) -> None:
        if recipe.dtype == "bfloat16":
            found = "bfloat16, in which the steps of a training cannot be differentiated"
            raise InputError("recipe.dtype", found, "float32 or float64")
        self.base, self.recipe, self.training, self.seed = base, recipe, training, seed
        self.engine = engine or GenericEngine(base, recipe, seed)
        self.objective = base.objective
        self.names = self.engine.learning(training.items[0])
        self.steps = [_At(step, index == 0) for stage in training.stages for index, step in enumerate(stage)]
        optimizer = recipe.optimizer
        self.blocks = 2 if not isinstance(optimizer, Sgd) else int(optimizer.momentum > 0)

    def __len__(self) -> int:
        """Steps of all stages."""
        return len(self.steps)

    @property
    def bytes_per_state(self) -> int:
        """Bytes of one state."""
        values = (self.engine.start[name] for name in self.names)
        return sum(value.numel() * value.element_size() for value in values) * (1 + self.blocks)

    @property
    def most_adjoints(self) -> int:
        """Queries whose derivatives with respect to a state fit into a quarter of the memory, four times each."""
        return max(memory_budget(self.engine.device) // 16 // max(self.bytes_per_state, 1), 1)

    def start(self) -> State:
        """Before the first step."""
        return self._forgotten(tuple(self.engine.start[name] for name in self.names))

    def _forgotten(self, values: tuple[Tensor, ...]) -> State:
        return State(values, tuple(torch.zeros_like(value) for _ in range(self.blocks) for value in values))

    def batch(self, index: int) -> tuple[list[Item], Tensor, float]:
        """The items of a step, their weights as the training has them, and what its loss is divided by."""
        items, weights, divisor = batch_of(self.training, self.steps[index].step)
        return items, torch.tensor(weights, dtype=self.engine.dtype, device=self.engine.device), divisor

    def rate(self, index: int) -> float:
        """The learning rate of a step."""
        return self.recipe.optimizer.lr * self.steps[index].step.rate

    def logprobs(self, values: Sequence[Tensor], items: Sequence[Item]) -> Float[Tensor, " B"]:
        """Log-probability of each item, summed over its targets, in nats; can be differentiated twice."""
        batch, own = self.engine.collated(items), dict(zip(self.names, values, strict=True))

        def call(*args: Any, **inputs: Any) -> Any:
            return functional_call(self.engine.model, own, args, inputs)

        with sdpa_kernel(SDPBackend.MATH):  # a CPU's fused attention has no second derivative
            logits = self.objective.logits(call, batch)
        nats = F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), reduction="none")
        return -torch.where(batch.counts, nats.view(batch.targets.shape), 0.0).sum(1)

    def sample_gradients(self, values: Sequence[Tensor], items: Sequence[Item]) -> Float[Tensor, "B p"]:
        """The gradient of each item's log-probability, all parameters in one row."""
        stacked = [value.detach().expand(len(items), *value.shape).clone().requires_grad_() for value in values]
        parts = self.engine.parts([Loss((item,), (1.0,), 1.0) for item in items])

        def of_part(part: Part, own: list[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
            logits = self.engine.logits(dict(zip(self.names, own, strict=True)), part.batch, part.shared)
            loss = part.loss(logits)
            return loss, torch.autograd.grad(loss.sum(), own)

        _, found = by_part(parts, stacked, of_part)
        return -flat(found, 1)

    def advance(self, state: State, index: int, weights: Float[Tensor, " B"] | None = None) -> State:
        """The state after a step; a function of the one before and of the weights of the step's items."""
        items, as_written, divisor = self.batch(index)
        state = self.begun(state, index)
        loss = -((as_written if weights is None else weights) * self.logprobs(state.values, items)).sum() / divisor
        gradients = torch.autograd.grad(loss, state.values, create_graph=weights is not None)
        return self.moved(state, index, self.clipped(gradients))

    def begun(self, state: State, index: int) -> State:
        """The state before a step as its optimizer finds it, which remembers nothing where a stage begins."""
        return self._forgotten(state.values) if self.steps[index].first else state

    def clipped(self, gradients: Sequence[Tensor]) -> Sequence[Tensor]:
        """Gradients scaled to a norm of at most the recipe's ``clip``, as ``clip_grad_norm_`` does."""
        if self.recipe.clip is None:
            return gradients
        factor = self.shrunk(flat(gradients))
        return [gradient * factor for gradient in gradients]

    def shrunk(self, gradient: Float[Tensor, " p"]) -> Float[Tensor, ""] | float:
        """What clipping multiplies a gradient with."""
        if self.recipe.clip is None:
            return 1.0
        return (self.recipe.clip / (gradient.square().sum().sqrt() + 1e-6)).clamp(max=1.0)

    def moved(self, state: State, index: int, gradients: Sequence[Tensor]) -> State:
        """The state after the optimizer has taken gradients. Source: the algorithms of torch's documentation."""
        n, optimizer, rate = len(state.values), self.recipe.optimizer, self.rate(index)
        decay, taken = optimizer.weight_decay, state.taken + 1
        values = state.values
        if isinstance(optimizer, AdamW):
            values = tuple(value * (1 - rate * decay) for value in values)
        elif decay:
            gradients = [g + decay * value for g, value in zip(gradients, values, strict=True)]
        if isinstance(optimizer, Sgd):
            if self.blocks:
                gradients = [optimizer.momentum * old + g for old, g in zip(state.memory, gradients, strict=True)]
            moved = tuple(value - rate * g for value, g in zip(values, gradients, strict=True))
            return State(moved, tuple(gradients) if self.blocks else (), taken)
        (one, two), old = optimizer.betas, (state.memory[:n], state.memory[n:])
        mean = tuple(one * m + (1 - one) * g for m, g in zip(old[0], gradients, strict=True))
        square = tuple(two * v + (1 - two) * g * g for v, g in zip(old[1], gradients, strict=True))
        factor = rate / (1 - one**taken)
        scales = self.adaptive_scales(square, taken)
        moved = tuple(value - factor * m * s for value, m, s in zip(values, mean, scales, strict=True))
        return State(moved, (*mean, *square), taken)

    def adaptive_scales(self, square: Sequence[Tensor], taken: int) -> list[Tensor]:
        """What Adam multiplies its first moment with, 1 / (√v + ε); of no slope where v is 0, as where g is 0."""
        optimizer = cast("Adam | AdamW", self.recipe.optimizer)
        correction = 1 - optimizer.betas[1] ** taken
        some = [(torch.where(v > 0, v, 1.0), v > 0) for v in square]
        return [1 / (torch.where(there, (v / correction).sqrt(), 0.0) + optimizer.eps) for v, there in some]

    def states(self, begin: State, first: int, last: int) -> Iterator[State]:
        """The states before each of the steps ``first`` to ``last - 1``, and the one after them.

        Raises:
            ArithmeticError: When a number is not finite.
        """
        state = begin
        yield state
        for index in range(first, last):
            leaves = state.leaves()
            after = self.advance(leaves, index)
            state = State(_detached(after.values), _detached(after.memory), after.taken)
            if not all(bool(value.isfinite().all()) for value in state.values):
                raise ArithmeticError(f"weights are not finite after {index + 1} steps")
            yield state

    def backwards(self, keep: int | None = None) -> Iterator[tuple[int, State, State]]:
        """Each step from the last to the first, with the states before and after it.

        Args:
            keep: States that are held; all between them are computed again, once. None holds all where they fit into
                an eighth of the memory, else about twice the root of their number.
        """
        count, every = len(self), self._spacing(keep)
        bounds = [*range(0, count, every), count]
        wanted = set(bounds)
        held = {index: state for index, state in enumerate(self.states(self.start(), 0, count)) if index in wanted}
        for first, last in reversed(list(pairwise(bounds))):
            inside = [held[first], held[last]] if every == 1 else list(self.states(held[first], first, last))
            for index in range(last - 1, first - 1, -1):
                yield index, inside[index - first], inside[index - first + 1]

    @property
    def states_held(self) -> int:
        """States that :meth:`backwards` holds at most."""
        count, every = len(self), self._spacing()
        return count + 1 if every == 1 else len(range(0, count, every)) + 1 + every

    @property
    def runs_back(self) -> int:
        """How often :meth:`backwards` takes each step of the training forwards."""
        return 1 if self._spacing() == 1 else 2

    def _spacing(self, keep: int | None = None) -> int:
        """Steps between two states that are held from the first way on."""
        count, room = len(self), memory_budget(self.engine.device) // 8 // max(self.bytes_per_state, 1)
        return 1 if (count < room if keep is None else count <= keep) else math.isqrt(max(count - 1, 0)) + 1

    def pulled_back(
        self, state: State, index: int, adjoint: Sequence[Float[Tensor, "Q ..."]]
    ) -> tuple[list[Float[Tensor, "Q ..."]], Float[Tensor, "Q B"]]:
        """The exact derivatives of Q numbers with respect to the state before a step and to its items' weights.

        Args:
            state: Before the step.
            index: Which step.
            adjoint: Derivatives with respect to the state after it.
        """
        leaves, weights = state.leaves(), self.batch(index)[1].requires_grad_()
        after = self.advance(leaves, index, weights)
        kept = [(t, a) for t, a in zip(after.tensors, adjoint, strict=True) if t.requires_grad]
        inputs = (*leaves.tensors, weights)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="There is a performance drop")
            given: Any = [a for _, a in kept]
            found: Any = torch.autograd.grad(
                [t for t, _ in kept], inputs, given, allow_unused=True, is_grads_batched=True
            )
        q = len(adjoint[0])
        whole: list[Tensor] = [t.new_zeros(q, *t.shape) if g is None else g for t, g in zip(inputs, found, strict=True)]
        return whole[:-1], whole[-1]

    def reweighted(self, weights: Mapping[int, float]) -> Trajectory:
        """The same training with other weights, as :meth:`.Training.weighted` takes them."""
        return Trajectory(self.base, self.recipe, self.training.weighted(weights), self.seed, self.engine)

    def end(self) -> State:
        """The state after all steps."""
        [state] = deque(self.states(self.start(), 0, len(self)), maxlen=1)
        return state


def _detached(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return tuple(tensor.detach() for tensor in tensors)


def flat(tensors: Sequence[Tensor], leading: int = 0) -> Tensor:
    """All tensors in one row, or in a row for each index of their first dimension."""
    return torch.cat([tensor.flatten(leading) for tensor in tensors], leading)
