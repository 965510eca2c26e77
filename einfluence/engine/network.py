"""A causal LM made ready to run many probes at once, without a change to its code.

A structural copy shares the base's weights; on the copy, attention follows :mod:`einfluence.engine.attention`, and
what comes after the last attention is computed on the answer rows only.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from einfluence.engine.attention import NAME, Seats, Stop, seated
from einfluence.errors import InputError

LINEAR = (nn.Linear, Conv1D)


@dataclass
class Now:
    """What the patched modules of a network follow during a forward pass.

    Args:
        rows: Flat positions in the batch whose logits are wanted; None for all.
        resume: (1, L, hidden), what goes into the first block that differs from the base's, the blocks before it being
            left out; None runs all blocks.
        first: What the layers behind no adapter made of this batch without their own, by name: (N, L, out), or
            (1, L, out) where all probes read the same.
        same: Whether all probes read the same texts.
    """

    rows: Tensor | None = None
    resume: Tensor | None = None
    first: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    same: bool = False


def shared_copy(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Copies a model's structure and buffers; parameters share the original's memory where the dtype is the same.

    None of them needs a gradient. The original may be used by other threads meanwhile.
    """
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.detach().to(dtype), requires_grad=False)
    twin = copy.deepcopy(model, memo)
    for module in twin.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.is_floating_point():
                setattr(module, name, buffer.to(dtype))
    return twin.eval()


class Network:
    """A causal LM for batches of (probes, tokens of many texts end to end).

    Args:
        model: A Hugging Face causal LM; it is changed, so hand in a :func:`shared_copy`.
        start: The first decoder block that may differ from the base's; those before it can be run once for all probes.
        now: What modules that were patched before follow.

    Attributes:
        packs: Whether texts can be laid end to end (the model looks its attention up in transformers' interface).
            Otherwise a batch is (probes * rows, length), filled up on the right.
        start: As given; 0 where blocks cannot be left out.
    """

    def __init__(self, model: nn.Module, start: int = 0, now: Now | None = None) -> None:
        self.model: Any = model
        self.now = now or Now()
        first = next(model.parameters())
        self.device, self.itemsize = first.device, first.element_size()
        self.width: int = self.model.config.get_text_config().hidden_size
        self._positions = "position_ids" in inspect.signature(model.forward).parameters
        self.packs = self._positions and self._adopt_attention()
        self.start = self._skip_below(start) if self.packs and start else 0
        self._patch_answer_rows()

    def logits(self, ids: Tensor, positions: Tensor | None, seats: Seats, answers: Tensor) -> Tensor:
        """Runs a batch (B, L) and returns logits (B * R, vocabulary) at ``answers``: (B, R) flat positions of each.

        Where the model does not pack, the texts are ``seats.width`` tokens each and become rows of the batch.
        """
        each = ids.numel() // len(answers)
        self.now.rows = (answers + torch.arange(len(answers), device=self.device)[:, None] * each).reshape(-1)
        given = {"position_ids": positions} if self.packs else {}
        ids = ids if self.packs else ids.reshape(-1, seats.width)
        try:
            with seated(seats):
                out = self.model(input_ids=ids, use_cache=False, **given).logits
        finally:
            rows, self.now.rows = self.now.rows, None
        out = out.reshape(-1, out.shape[-1])
        return out if len(out) == len(rows) else out[rows]

    @torch.no_grad()
    def below(self, ids: Tensor, positions: Tensor, seats: Seats) -> Tensor:
        """What goes into block ``start`` for a sequence (1, L): (1, L, hidden), the same for every probe."""
        nowhere = torch.zeros((1, 1), dtype=torch.long, device=self.device)
        return entering(self.blocks[self.start], lambda: self.logits(ids, positions, seats, nowhere))

    def _skip_below(self, start: int) -> int:
        """Lets the first blocks be left out; returns ``start``, or 0 where that is not possible."""
        self.blocks = decoder_layers(self.model)
        kinds: list[bool] = []
        hooks = [
            b.register_forward_hook(lambda _m, _a, out: kinds.append(isinstance(out, Tensor))) for b in self.blocks
        ]
        self._try()
        for hook in hooks:
            hook.remove()
        if len(kinds) != len(self.blocks) or not all(kinds) or start >= len(self.blocks):
            return 0
        for block in self.blocks[:start]:
            patch(block, _left_out(self.now, block.forward))
        patch(self.blocks[start], _resumed(self.now, self.blocks[start].forward))
        return start

    def _adopt_attention(self) -> bool:
        can = getattr(self.model, "_can_set_attn_implementation", None)
        layers = getattr(self.model.config.get_text_config(), "num_hidden_layers", None)
        if can is None or not can() or layers is None:
            return False
        old = self.model.config._attn_implementation
        self.model.set_attn_implementation(NAME)
        try:
            seen = self._try()
        except InputError:
            seen = list[nn.Module]()
        if len(seen) == layers == len(set(seen)):
            return True
        self.model.set_attn_implementation(old)
        return False

    def forward_two_tokens(self, seats: Seats | None = None) -> list[nn.Module]:
        """Runs two tokens; returns the attention modules in the order of their calls."""
        seats = seats or Seats()
        ids = torch.zeros((1, 2), dtype=torch.long, device=self.device)
        with seated(seats):
            self.model(input_ids=ids, use_cache=False)
        return seats.seen

    @torch.no_grad()
    def _try(self, seats: Seats | None = None) -> list[nn.Module]:
        return self.forward_two_tokens(seats)

    def _patch_answer_rows(self) -> None:
        """After the last attention every position stands alone, so there only the answer rows are computed."""
        head = self.model.get_output_embeddings()
        late = self._after_last_attention() if self.packs else set[nn.Module]()
        linears = {module for module in self.model.modules() if isinstance(module, LINEAR)}
        done: set[nn.Module] = set()
        for _, module in self.model.named_modules():
            inner = {child for child in module.modules() if child in linears}
            if module is head or not inner or inner & done or not inner <= late:
                continue
            done |= inner
            patch(module, _on_rows(self.now, module.forward, scatter=True))
        if head is not None and type(head) is nn.Linear:
            patch(head, _on_rows(self.now, head.forward, scatter=False))

    def _after_last_attention(self) -> set[nn.Module]:
        last = self._try()[-1]
        late: set[nn.Module] = set()
        early: set[nn.Module] = set()
        seats = Seats()

        def note(module: nn.Module, *_: Any) -> None:
            (late if seats.seen and seats.seen[-1] is last else early).add(module)

        hooks = [
            module.register_forward_pre_hook(note) for module in self.model.modules() if isinstance(module, LINEAR)
        ]
        self._try(seats)
        for hook in hooks:
            hook.remove()
        return late - early


def entering(block: nn.Module, run: Callable[[], object]) -> Tensor:
    """The hidden states that go into a block when ``run`` runs its model, which is ended there."""
    caught: list[Tensor] = []

    def catch(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        caught.append(args[0] if args else kwargs["hidden_states"])
        raise Stop

    hook = block.register_forward_pre_hook(catch, with_kwargs=True)
    try:
        run()
    except Stop:
        pass
    finally:
        hook.remove()
    return caught[0]


def first_changed(model: nn.Module, names: Collection[str]) -> int:
    """The index of the first decoder block that holds one of these parameters; 0 if one stands before the blocks."""
    places: dict[int, int] = {}
    for index, block in enumerate(decoder_layers(model)):
        places |= {id(parameter): index for parameter in block.parameters()}
    after = max(places.values(), default=0)
    output = cast("Any", model).get_output_embeddings()
    tied = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    late = {id(parameter) for parameter in output.parameters()} - tied if output is not None else set[int]()
    named = dict(model.named_parameters(remove_duplicate=False))
    return min((places.get(id(named[n]), after if id(named[n]) in late else 0) for n in names), default=0)


def patch(module: nn.Module, forward: Callable[..., Any]) -> None:
    """Replaces a module's forward on this object alone."""
    cast("Any", module).forward = forward


def _on_rows(now: Now, forward: Callable[..., Any], scatter: bool) -> Callable[..., Any]:
    def on_rows(x: Tensor, *args: Any, **kwargs: Any) -> Any:
        if now.rows is None:
            return forward(x, *args, **kwargs)
        rows = x.reshape(-1, x.shape[-1]).index_select(0, now.rows)[None]
        out = forward(rows, *args, **kwargs)
        if not scatter:
            return out
        full = out.new_zeros(x.shape[:-1].numel(), out.shape[-1])
        return full.index_copy(0, now.rows, out[0]).view(*x.shape[:-1], -1)

    return on_rows


def _left_out(now: Now, forward: Callable[..., Any]) -> Callable[..., Any]:
    def left_out(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        return forward(hidden_states, *args, **kwargs) if now.resume is None else hidden_states

    return left_out


def _resumed(now: Now, forward: Callable[..., Any]) -> Callable[..., Any]:
    def resumed(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        if now.resume is not None:
            hidden_states = now.resume.expand(hidden_states.shape)
        return forward(hidden_states, *args, **kwargs)

    return resumed


def decoder_layers(model: nn.Module) -> list[nn.Module]:
    """The blocks of a causal LM in order; none where it is not plain which they are."""
    wanted = getattr(cast("Any", model).config.get_text_config(), "num_hidden_layers", 0)
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList) and len(module) == wanted]
    return list(lists[0]) if len(lists) == 1 else []
