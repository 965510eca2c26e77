"""What full-parameter SGD does to a model, without a copy of its weights for each probe.

The gradient of a weight matrix is G^T X, with X the (rows, in) inputs and G the (rows, out) gradients of its outputs.
SGD, its momentum and its weight decay are linear in these, so after any number of steps the weight of a probe is
a W + U^T D, with a number a, D the inputs of all steps and U the gradients, each step times a number. The few
parameters that are no matrices are kept whole for each probe, and of an embedding the rows that occurred.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import functional_call, vmap

from einfluence.engine.contract import Unsupported
from einfluence.engine.stacked_layers import normalised
from einfluence.engine.text.network import LINEAR
from einfluence.spec import Sgd

WHOLE = (nn.LayerNorm, nn.RMSNorm)
"""Norms by a function of torch that takes parameters of one shape alone; a model's own class may come before it."""


@dataclass
class SgdCoefficients:
    """The numbers of SGD: how much of the base, and of each step's gradient, the weights hold after each step."""

    optimizer: Sgd
    kept: float = 1.0
    shares: list[float] = field(default_factory=list[float])
    _kept_buffer: float = 0.0
    _buffers: list[float] = field(default_factory=list[float])

    def step(self) -> None:
        """Takes a step whose gradient is a new one."""
        lr, decay, momentum = self.optimizer.lr, self.optimizer.weight_decay, self.optimizer.momentum
        self.shares.append(0.0)
        self._buffers.append(0.0)
        self._kept_buffer = momentum * self._kept_buffer + decay * self.kept
        for s, share in enumerate(self.shares):
            fresh = 1.0 if s == len(self.shares) - 1 else 0.0
            self._buffers[s] = momentum * self._buffers[s] + fresh + decay * share
        self.kept -= lr * self._kept_buffer
        self.shares = [share - lr * buffer for share, buffer in zip(self.shares, self._buffers, strict=True)]


@dataclass(eq=False)
class LowRankMatrix:
    """A trained weight matrix and what it is for N probes.

    Args:
        name: Its parameter name.
        weight: The base's, as (out, in) whatever the module's own way.
        kept: a.
        down: D; None while it is the base's.
        up: U.
        tokens: Rows of an embedding that differ besides; ``rows`` by how much.
        merged: All of it in one, for a single probe.
    """

    name: str
    weight: Float[Tensor, "out in"]
    kept: float = 1.0
    down: Float[Tensor, "N rows in"] | None = None
    up: Float[Tensor, "N rows out"] | None = None
    tokens: Int[Tensor, "N L"] | None = None
    rows: Float[Tensor, "N L in"] | None = None
    merged: Float[Tensor, "out in"] | None = None
    probes: int = 1
    embeds: bool = False
    seen: list[tuple[Tensor, Tensor]] = field(default_factory=list[tuple[Tensor, Tensor]])
    watch: bool = False
    flipped: bool = False  # whether the module has it as (in, out)
    copies: bool = False  # whether what comes after may write into the outputs, whose gradients are wanted

    def times(self, x: Float[Tensor, "N L in"]) -> Float[Tensor, "N L out"]:
        """The products of N probes with their own weights."""
        if self.merged is not None:
            return F.linear(x, self.merged)
        out = F.linear(x, self.weight)
        if self.kept != 1.0:
            out = out * self.kept
        if self.down is not None and self.up is not None:
            out = out.baddbmm_(x @ self.down.transpose(1, 2), self.up)
        if self.tokens is not None and self.rows is not None:
            more = x @ self.rows.detach().transpose(1, 2)
            out = out.scatter_add(-1, self.tokens[:, None].expand(more.shape), more)
        if self.watch:
            out = out if out.requires_grad else out.requires_grad_()
            self.seen.append((x.detach(), out))
            out = out.clone() if self.copies else out
        return out

    def look_up(self, ids: Int[Tensor, "texts L"], padding: int | None = None) -> Float[Tensor, "N L width"]:
        """The rows of each probe's own embedding, for N texts or for one that all probes read.

        The row of ``padding`` learns nothing here, as torch has it.
        """
        if self.merged is not None:
            return F.embedding(ids, self.merged)
        if self.watch and self.tokens is None:
            self.tokens = ids.expand(self.probes, -1)
            self.rows = self.weight.new_zeros(*self.tokens.shape, self.weight.shape[1]).requires_grad_()
        out = F.embedding(ids, self.weight) * self.kept
        ids = ids.expand(self.probes, -1)
        if self.down is not None and self.up is not None:
            columns = self.up.gather(2, ids[:, None].expand(-1, self.up.shape[1], -1))
            out = out + columns.transpose(1, 2) @ self.down
        if self.tokens is not None and self.rows is not None:
            same = ids[:, :, None] == self.tokens[:, None, :]
            first = same.to(torch.uint8).argmax(-1)  # the first place where the token occurred holds its change
            rows = self.rows.gather(1, first[..., None].expand(-1, -1, self.rows.shape[2]))
            learns = same.any(-1, keepdim=True)
            out = out + rows * (learns if padding is None else learns & (ids != padding)[..., None])
        return out

    def merge(self) -> None:
        """Makes one matrix of it; for a single probe."""
        self.merged = self.weight * self.kept if self.kept != 1.0 else self.weight
        if self.down is not None and self.up is not None:
            self.merged = torch.addmm(self.merged, self.up[0].T, self.down[0])
        if self.tokens is not None and self.rows is not None:
            self.merged = self.merged.index_add(0, self.tokens[0], self.rows[0])

    def square_norm(
        self,
        down: Float[Tensor, "N rows in"] | None,
        up: Float[Tensor, "N rows out"] | None,
        rows: Float[Tensor, "N L in"] | None,
        kept: float,
    ) -> Float[Tensor, " N"]:
        """Squared Frobenius norms of (kept - 1) W + U^T D + rows."""
        loss = kept - 1.0
        total = torch.full((self.probes,), loss**2 * self.weight.norm().item() ** 2 if loss else 0.0).to(self.weight)
        if down is not None and up is not None:
            total = total + ((down @ down.transpose(1, 2)) * (up @ up.transpose(1, 2))).sum((1, 2))
            if loss:
                total = total + 2 * loss * (F.linear(down, self.weight) * up).sum((1, 2))
        if rows is not None and self.tokens is not None:
            total = total + rows.square().sum((1, 2))
            if loss:
                total = total + 2 * loss * (F.embedding(self.tokens, self.weight) * rows).sum((1, 2))
            if down is not None and up is not None:
                columns = up.gather(2, self.tokens[:, None].expand(-1, up.shape[1], -1))
                total = total + 2 * ((columns.transpose(1, 2) @ down) * rows).sum((1, 2))
        return total.clamp(min=0)


class LowRankWeights:
    """All trained parameters of a model, for N probes.

    Args:
        model: Patched to follow them.
        trained: Names of the trained parameters.

    Raises:
        Unsupported: When a trained parameter belongs to a layer whose exact type is not known here.
    """

    def __init__(self, model: nn.Module, trained: set[str]) -> None:
        self.matrices: dict[str, LowRankMatrix] = {}
        self.small: dict[str, Tensor] = {}
        self.values: dict[str, Tensor] = {}
        wanted = {id(p): name for name, p in model.named_parameters() if name in trained}
        for name, module in model.named_modules():
            own = {
                which.rpartition(".")[2]: wanted[id(parameter)]
                for which, parameter in module.named_parameters(recurse=False, remove_duplicate=False)
                if id(parameter) in wanted
            }
            if own:
                self._patch(name, module, own)

    def _patch(self, name: str, module: Any, own: dict[str, str]) -> None:
        kind = type(module)
        if kind in LINEAR:
            flip = kind is not nn.Linear
            matrix = None
            if "weight" in own:
                weight = module.weight.detach()
                matrix = self._matrix(own["weight"], weight.T if flip else weight)
                matrix.flipped = flip
            module.forward = self._linear(module, matrix, own.get("bias"), module.weight.T if flip else module.weight)
        elif kind is nn.Embedding and module.max_norm is None and not module.scale_grad_by_freq:
            matrix = self._matrix(own["weight"], module.weight.detach())
            if matrix.embeds:
                raise Unsupported(
                    "recipe.adapter", f"{name}, whose rows another embedding reads too", "one that reads them"
                )
            matrix.embeds = True
            module.forward = partial(matrix.look_up, padding=module.padding_idx)
        elif not list(module.children()) and all(p is None or p.dim() == 1 for p in module._parameters.values()):
            module.forward = self._norm(module, own)
        else:
            found = f"trained parameters in {name}, a {kind.__name__}"
            raise Unsupported("recipe.adapter", found, "Linear, Conv1D, Embedding and norm layers")
        for which, full in own.items():
            if module._parameters[which].dim() == 1:
                self.small[full] = module._parameters[which].detach()

    def _matrix(self, name: str, weight: Tensor) -> LowRankMatrix:
        return self.matrices.setdefault(name, LowRankMatrix(name, weight))

    def _linear(
        self, module: Any, matrix: LowRankMatrix | None, bias: str | None, weight: Tensor
    ) -> Callable[[Tensor], Tensor]:
        own_bias = module.bias

        def linear(x: Tensor) -> Tensor:
            probes = self.probes
            rows = x.reshape(probes, -1, x.shape[-1])
            out = F.linear(rows, weight) if matrix is None else matrix.times(rows)
            if bias is not None:
                out = out + self.values[bias][:, None]
            elif own_bias is not None:
                out = out + own_bias
            return out.reshape(*x.shape[:-1], -1)

        return linear

    def _norm(self, module: Any, own: dict[str, str]) -> Callable[..., Tensor]:
        kind: type[Any] = type(module)
        if kind is not nn.LayerNorm and issubclass(kind, WHOLE):
            return self._norm_of_one(copy.copy(module), own)
        forward, base = module.forward, {which: module._parameters[which] for which in own}
        exact = kind is nn.LayerNorm

        def weights(which: str) -> Tensor:
            if which in own:
                return self.values[own[which]]
            given = module._parameters[which]
            return module.weight.new_zeros(1, *module.weight.shape) if given is None else given[None]

        def norm(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            rows = x.reshape(self.probes, -1, *x.shape[2:])
            if exact:
                return normalised(module, rows, weights).view(x.shape)
            for which, name in own.items():
                value = self.values[name]
                module._parameters[which] = value.view(len(value), *[1] * (rows.dim() - 2), -1)
            try:
                return forward(rows, *args, **kwargs).view(x.shape)
            finally:
                module._parameters.update(base)

        return norm

    def _norm_of_one(self, module: nn.Module, own: dict[str, str]) -> Callable[[Tensor], Tensor]:
        """A norm that takes the parameters of one probe alone."""

        def of_one(values: dict[str, Tensor], rows: Tensor) -> Tensor:
            return functional_call(module, values, (rows,))

        def norm(x: Tensor) -> Tensor:
            values = {which: self.values[name] for which, name in own.items()}
            return vmap(of_one)(values, x.reshape(self.probes, -1, *x.shape[2:])).view(x.shape)

        return norm

    @property
    def probes(self) -> int:
        """N."""
        return self._probes

    def begin(self, probes: int, watch: bool) -> list[Float[Tensor, "{probes} ..."]]:
        """Starts N probes off from the base; returns the stacked small parameters in order."""
        self._probes = probes
        for matrix in self.matrices.values():
            matrix.probes, matrix.watch = probes, watch
            matrix.kept, matrix.down, matrix.up, matrix.tokens, matrix.rows, matrix.merged = 1.0, *[None] * 5
            matrix.seen.clear()
        self.values = {name: value.expand(probes, *value.shape).clone() for name, value in self.small.items()}
        return list(self.values.values())

    def export(self, probe: int) -> dict[str, Tensor]:
        """One probe's change by name: small parameters whole, and ``:kept``, ``:down``, ``:up``, ``:rows``."""
        found = {name: value[probe].detach().clone() for name, value in self.values.items()}
        for name, matrix in self.matrices.items():
            found[f"{name}:kept"] = torch.tensor(matrix.kept, dtype=torch.float64)
            for what in ("down", "up", "tokens", "rows"):
                value = cast("Tensor | None", getattr(matrix, what))
                if value is not None:
                    found[f"{name}:{what}"] = value[probe].detach().clone()
        return found

    def put(self, deltas: list[dict[str, Tensor]]) -> None:
        """Puts in what :meth:`export` gave of several probes; a single one is merged."""
        self.begin(len(deltas), False)
        self.values = {name: torch.stack([d[name] for d in deltas]).to(value) for name, value in self.values.items()}
        for name, matrix in self.matrices.items():
            matrix.kept = deltas[0][f"{name}:kept"].item()
            for what in ("down", "up", "tokens", "rows"):
                if f"{name}:{what}" in deltas[0]:
                    setattr(matrix, what, _stack([d[f"{name}:{what}"] for d in deltas], matrix.weight))
            if len(deltas) == 1:
                matrix.merge()

    def whole(self, delta: dict[str, Tensor]) -> dict[str, Tensor]:
        """The parameters, as the model has them, that :meth:`export` gave of one probe."""
        self.put([delta])
        found = {name: value[0] for name, value in self.values.items()}
        for name, matrix in self.matrices.items():
            if matrix.merged is not None:
                found[name] = (matrix.merged.T if matrix.flipped else matrix.merged).clone()
        return found


def _stack(parts: list[Tensor], like: Tensor) -> Tensor:
    """Stacks tensors that differ in their first size; zeros, which change nothing, fill up."""
    longest = max(len(part) for part in parts)
    filled = [F.pad(part, (0, 0) * (part.dim() - 1) + (0, longest - len(part))) for part in parts]
    stacked = torch.stack(filled).to(like.device)
    return stacked.to(like.dtype) if stacked.is_floating_point() else stacked
