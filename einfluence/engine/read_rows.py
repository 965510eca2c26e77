"""A network's last block on the rows that are read alone: a classifier reads one.

Keys and values of its attention are computed of all rows, all else of those. For that the block's own code runs twice:
on all rows until it attends, and on those that are read, which then attend to what was there. Whether a model can be
run so is tried on the model itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from transformers.pytorch_utils import Conv1D

from einfluence.engine.structure import Needless
from einfluence.models.base import Batch, Objective

PRODUCTS = (LoraLayer, nn.Linear, Conv1D)
ALLOWED = {torch.float64: 1e-9, torch.float32: 1e-4}  # by which what is read may differ, of the largest entry


class Attended(NamedTuple):
    """What torch's attention is called with."""

    query: Float[Tensor, "B heads rows width"]
    key: Float[Tensor, "B heads L width"]
    value: Float[Tensor, "B heads L width"]
    attn_mask: Tensor | None = None
    dropout_p: float = 0.0
    is_causal: bool = False
    scale: float | None = None
    enable_gqa: bool = False

    def by(self, query: Float[Tensor, "B heads T width"], rows: Int[Tensor, "B T"]) -> Tensor:
        """What some of the rows find with queries of their own."""
        mask = self.attn_mask
        if self.is_causal:
            mask = (torch.arange(self.key.shape[-2], device=rows.device) <= rows[..., None])[:, None]
        elif mask is not None and mask.shape[-2] > 1:
            mask = picked(mask.transpose(1, 2), rows).transpose(1, 2)
        scale, gqa = self.scale, self.enable_gqa
        return F.scaled_dot_product_attention(query, self.key, self.value, mask, scale=scale, enable_gqa=gqa)


class _Attends(Exception):  # noqa: N818
    """A block has come to its attention."""


class _Attention(TorchFunctionMode):
    """Has the attention of a block done otherwise, of which it may have one: rows of other texts have other places."""

    def __init__(self, instead: Callable[[Attended], Tensor]) -> None:
        super().__init__()
        self.instead: Callable[[Attended], Tensor] | None = instead

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not F.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        if self.instead is None:
            raise ValueError("a block that attends twice")
        instead, self.instead = self.instead, None
        return instead(Attended(*args, **(kwargs or {})))


class LastBlock:
    """The last block of a model: within :meth:`reading` it gives (B, T, hidden) of the rows that are read.

    Args:
        block: It; its ``forward`` is replaced, and that of the products in it.
    """

    def __init__(self, block: nn.Module) -> None:
        self.rows: Int[Tensor, "B T"] | None = None
        self.without: Needless = {}, {}
        self._run: int | None = None
        self._seen: dict[str, Tensor] | None = None  # what products gave, while the block is looked through
        self._plain: dict[nn.Module, Callable[..., Any]] = {block: block.forward}
        self._block = block.forward
        found: dict[str, Any] = {name: each for name, each in block.named_modules() if isinstance(each, PRODUCTS)}
        for name, module in found.items():
            if not any(name.startswith(f"{other}.") for other in found):
                self._plain[module] = module.forward
                _patch(module, self._product(name, module.forward))
        _patch(block, self._forward)

    def undo(self) -> None:
        """Leaves the block as it was."""
        for module, forward in self._plain.items():
            _patch(module, forward)

    @contextmanager
    def reading(self, rows: Int[Tensor, "B T"]) -> Generator[None]:
        """Computes these rows of each item alone."""
        self.rows = rows
        try:
            yield
        finally:
            self.rows = None

    def look_through(self, run: Callable[[], Any]) -> None:
        """Finds out which products each of the two runs can do without.

        Args:
            run: Runs the model on some rows.

        Raises:
            ValueError: For a block that is not left out.
        """
        self._seen = {}
        try:
            run()
        finally:
            self._seen = None

    def _product(self, name: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        def product(x: Tensor, *args: Any, **kwargs: Any) -> Any:
            if self._run is not None and (width := self.without[self._run].get(name)):
                return x.new_zeros(()).expand(*x.shape[:-1], width)
            out = forward(x, *args, **kwargs)
            if self._run is not None and self._seen is not None:
                nothing = self._seen[name] = torch.zeros_like(out, requires_grad=True)
                out = out + nothing
            return out

        return product

    def _forward(self, *args: Any, **kwargs: Any) -> Any:
        if self.rows is None:
            return self._block(*args, **kwargs)
        try:
            attended = self._until(args, kwargs)
            hidden = args[0] if args else kwargs["hidden_states"]
            given = _cut((args, kwargs), self.rows, hidden.shape[:2])
            return self._after(attended, self.rows, *given)
        finally:
            self._run = None

    def _until(self, args: Any, kwargs: Any) -> Attended:
        """What is attended to, of all rows."""
        found: list[Attended] = []

        def end(attended: Attended) -> Tensor:
            found.append(attended)
            raise _Attends

        self._run = 0
        try:
            with _Attention(end):
                self._block(*args, **kwargs)
        except _Attends:
            pass
        self._note([*found[0][1:4]])
        return found[0]

    def _after(self, attended: Attended, rows: Int[Tensor, "B T"], args: Any, kwargs: Any) -> Any:
        """All that comes after, of some rows."""
        self._run = 1
        with _Attention(lambda own: attended.by(own.query, rows)):
            out = self._block(*args, **kwargs)
        self._note([_hidden(out)])
        return out

    def _note(self, outs: list[Any]) -> None:
        """While the block is looked through: what the outcome of a run does not follow from."""
        if self._seen is None or self._run is None:
            return
        follows = [out.sum() for out in outs if isinstance(out, Tensor) and out.requires_grad]
        found: Any = torch.autograd.grad(follows, list(self._seen.values()), allow_unused=True, retain_graph=True)
        for (name, value), gradient in zip(self._seen.items(), found, strict=True):
            if gradient is None:
                self.without[self._run][name] = value.shape[-1]
        self._seen.clear()


class ReadRows:
    """Reads a model's logits at the places of a batch, of its last block no more than these rows where it can be.

    Args:
        model: The model; its last block is changed.
        block: That, where it is known.
        objective: What is read.
        batch: On which it is tried.
        known: What was found out of the base before, :attr:`.Structure.narrows`; it is added to.
    """

    def __init__(
        self,
        model: nn.Module,
        block: nn.Module | None,
        objective: Objective,
        batch: Batch,
        known: dict[object, Needless | None],
    ) -> None:
        self.objective, self.model = objective, model
        self.dtype = next(model.parameters()).dtype
        key = type(objective), self.dtype
        self.last: LastBlock | None = None
        if block is not None and key not in known:
            self.last = self._tried(block, batch)
            known[key] = None if self.last is None else self.last.without
        elif block is not None and (without := known[key]) is not None:
            self.last = LastBlock(block)
            self.last.without = without

    def _tried(self, block: nn.Module, batch: Batch) -> LastBlock | None:
        """The last block, changed; None where a few rows alone say otherwise than among all."""
        last: LastBlock | None = None
        one = batch.first()
        several = [one._replace(places=some) for some in (one.places[:, :1], one.places.repeat(1, 2))]
        try:
            with torch.no_grad():
                truths = [self._truth(block, some) for some in several]
            last = LastBlock(block)
            with torch.enable_grad(), last.reading(several[0].places):
                last.look_through(lambda: self.objective.logits(self.model, _first(several[0])))
            with torch.no_grad():
                right = all(self._agrees(last, block, *each) for each in zip(several, truths, strict=True))
        except Exception:  # whatever a model wants otherwise, then it is run as it is
            right = False
        if last is not None and not right:
            last.undo()
        return last if right else None

    def logits(self, call: Callable[..., Any], batch: Batch) -> Float[Tensor, "B T classes"]:
        """What the model, or a function that calls it with other parameters, says at the places of a batch."""
        return self._by(self.last, call, batch)

    def _by(self, last: LastBlock | None, call: Callable[..., Any], batch: Batch) -> Float[Tensor, "B T classes"]:
        if last is None:
            return self.objective.logits(call, batch)
        with last.reading(batch.places):
            return self.objective.logits(call, _first(batch))

    def _truth(self, block: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """What is said at places, and what leaves the block there; it must follow from no other row."""
        left: list[Tensor] = []

        def spoil(_module: nn.Module, _args: Any, out: Any) -> Any:
            hidden = _hidden(out)
            left.append(picked(hidden, batch.places))
            index = batch.places[..., None].expand_as(left[-1])
            spoilt = torch.full_like(hidden, math.nan).scatter(1, index, left[-1])
            return spoilt if isinstance(out, Tensor) else (spoilt, *out[1:])

        truth = self.objective.logits(self.model, batch)
        hook = block.register_forward_hook(spoil)
        try:
            found = self.objective.logits(self.model, batch)
        finally:
            hook.remove()
        if len(left) != 1 or not close(found, truth, self.dtype):
            raise ValueError("a block that runs more than once, or whose other rows are read")
        return truth, left[0]

    def _agrees(self, last: LastBlock, block: nn.Module, batch: Batch, truth: tuple[Tensor, Tensor]) -> bool:
        """Whether the rows that are read say the same alone."""
        left: list[Tensor] = []
        hook = block.register_forward_hook(lambda _module, _args, out: left.append(_hidden(out)))
        try:
            found = self._by(last, self.model, batch)
        finally:
            hook.remove()
        return close(found, truth[0], self.dtype) and close(left[0], truth[1], self.dtype)


def _first(batch: Batch) -> Batch:
    """A batch whose rows are those that are read, in order."""
    places = torch.arange(batch.places.shape[-1], device=batch.places.device)
    return batch._replace(places=places.expand(batch.places.shape))


def _cut(value: Any, rows: Int[Tensor, "B T"], shape: tuple[int, int]) -> Any:
    """Some rows of whatever a block is given."""
    if isinstance(value, Tensor):
        if value.dim() < 2 or value.shape[1] != shape[1] or value.shape[0] not in (1, shape[0]):
            return value
        return picked(value, rows)
    if isinstance(value, dict):
        return {name: _cut(each, rows, shape) for name, each in value.items()}
    return type(value)(_cut(each, rows, shape) for each in value) if type(value) in (list, tuple) else value


def picked(value: Shaped[Tensor, "_ L *any"], rows: Int[Tensor, "B T"]) -> Shaped[Tensor, "B T *any"]:
    """Rows of each item, of a tensor that may be one for all items."""
    rest = value.shape[2:]
    index = rows.to(value.device).reshape(*rows.shape, *[1] * len(rest)).expand(*rows.shape, *rest)
    return value.expand(len(rows), *value.shape[1:]).gather(1, index)


def _hidden(out: Any) -> Float[Tensor, "B rows hidden"]:
    return out if isinstance(out, Tensor) else out[0]


def close(found: Float[Tensor, "*shape"], truth: Float[Tensor, "*shape"], dtype: torch.dtype) -> bool:
    """Whether what was computed in a dtype differs by rounding alone; never where one is no number."""
    off = (found - truth).abs().max() <= ALLOWED.get(dtype, 5e-2) * truth.abs().max().clamp(min=1.0)
    return found.shape == truth.shape and bool(off)


def _patch(module: nn.Module, forward: Callable[..., Any]) -> None:
    some: Any = module
    some.forward = forward
