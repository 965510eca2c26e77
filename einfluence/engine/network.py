"""A causal LM made ready to run many probes at once, without a change to its code.

A structural copy shares the base's weights; on the copy, attention follows :mod:`einfluence.engine.attention`, and
what comes after the last attention is computed on the answer rows only.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from einfluence.engine.attention import NAME, Pass, Stop, attending
from einfluence.errors import InputError

LINEAR = (nn.Linear, Conv1D)


@dataclass
class Now:
    """What the patched modules of a network follow during a forward pass.

    Args:
        probes: How many probes the batch holds, outermost.
        answers: (c, R) flat positions within each probe's rows whose logits are wanted; None for all.
    """

    probes: int = 1
    answers: Tensor | None = None
    flat: Tensor | None = field(default=None, repr=False)


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
    """A causal LM for passes over (probes x rows, length) batches.

    Args:
        model: A Hugging Face causal LM; it is changed, so hand in a :func:`shared_copy`.

    Attributes:
        shares: Whether prefixes can be shared (the model looks its attention up in transformers' interface).
        blocks: The decoder layers in order; empty where they could not be told.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model: Any = model
        self.now = Now()
        self.blocks = _decoder_layers(model)
        self.device = next(model.parameters()).device
        self._positions = "position_ids" in inspect.signature(model.forward).parameters
        self.shares = self._adopt_attention()
        self.order: dict[nn.Module, int] = {}
        if self.shares:
            run = self._try(Pass())
            self.order = {module: index for index, module in enumerate(run.seen)}
        self._patch_answer_rows()

    def logits(self, ids: Tensor, positions: Tensor | None, run: Pass) -> Tensor:
        """Runs the batch and returns (1, c * R, vocabulary) with answers set, else (B, S, vocabulary)."""
        given = {"position_ids": positions} if self._positions and positions is not None else {}
        with attending(run):
            out = self.model(input_ids=ids, use_cache=False, **given).logits
        if self.now.flat is not None and (out.dim() != 3 or out.shape[:2] != (1, self.now.flat.shape[0])):
            out = out.reshape(-1, out.shape[-1])[self.now.flat][None]
        return out

    def keys_and_values(self, ids: Tensor, positions: Tensor) -> dict[nn.Module, tuple[Tensor, Tensor]]:
        """Runs prefixes (B, P) as far as the last layer's keys and values, and returns those of every layer."""
        run = Pass(record=True, stop_after=list(self.order)[-1])
        self.answer(self.now.probes, None, 0)
        try:
            self.logits(ids, positions, run)
        except Stop:
            pass
        return run.kept

    def answer(self, probes: int, answers: Tensor | None, per_probe: int) -> None:
        """Says how many probes the next batch holds and which of each one's ``per_probe`` positions are asked for."""
        flat = None
        if answers is not None:
            start = torch.arange(probes, device=answers.device)[:, None] * per_probe
            flat = (answers + start).reshape(-1)
        self.now.probes, self.now.answers, self.now.flat = probes, answers, flat

    def _adopt_attention(self) -> bool:
        can = getattr(self.model, "_can_set_attn_implementation", None)
        layers = getattr(self.model.config.get_text_config(), "num_hidden_layers", None)
        if can is None or not can() or layers is None:
            return False
        old = self.model.config._attn_implementation
        self.model.set_attn_implementation(NAME)
        try:
            run = self._try(Pass())
        except InputError:
            self.model.set_attn_implementation(old)
            return False
        if len(run.seen) == layers == len(set(run.seen)):
            return True
        self.model.set_attn_implementation(old)
        return False

    @torch.no_grad()
    def _try(self, run: Pass) -> Pass:
        ids = torch.zeros((1, 2), dtype=torch.long, device=self.device)
        self.logits(ids, torch.arange(2, device=self.device)[None], run)
        return run

    def _patch_answer_rows(self) -> None:
        """After the last attention every position stands alone, so there only the answer rows are computed."""
        head = self.model.get_output_embeddings()
        late = self._after_last_attention() if self.shares else set[nn.Module]()
        linears = {module for module in self.model.modules() if isinstance(module, LINEAR)}
        done: set[nn.Module] = set()
        for _, module in self.model.named_modules():
            inner = {child for child in module.modules() if child in linears}
            if module is head or not inner or inner & done or not inner <= late:
                continue
            done |= inner
            _patch(module, _on_rows(self.now, module.forward, scatter=True))
        if head is not None and type(head) is nn.Linear:
            _patch(head, _on_rows(self.now, head.forward, scatter=False))

    def _after_last_attention(self) -> set[nn.Module]:
        last = list(self.order)[-1]
        seen: set[nn.Module] = set()
        early: set[nn.Module] = set()
        run = Pass()

        def note(module: nn.Module, *_: Any) -> None:
            (seen if run.seen and run.seen[-1] is last else early).add(module)

        hooks = [
            module.register_forward_pre_hook(note) for module in self.model.modules() if isinstance(module, LINEAR)
        ]
        self._try(run)
        for hook in hooks:
            hook.remove()
        return seen - early


def patch_linear(module: nn.Module, wrap: Callable[[Callable[[Tensor], Tensor]], Callable[[Tensor], Tensor]]) -> None:
    """Replaces a module's forward with ``wrap(forward)`` on this object alone."""
    _patch(module, wrap(module.forward))


def _patch(module: nn.Module, forward: Callable[..., Any]) -> None:
    cast("Any", module).forward = forward


def _on_rows(now: Now, forward: Callable[..., Any], scatter: bool) -> Callable[..., Any]:
    def on_rows(x: Tensor, *args: Any, **kwargs: Any) -> Any:
        if now.flat is None:
            return forward(x, *args, **kwargs)
        rows = x.reshape(-1, x.shape[-1]).index_select(0, now.flat)[None]
        out = forward(rows, *args, **kwargs)
        if not scatter:
            return out
        full = out.new_zeros(x.shape[:-1].numel(), out.shape[-1])
        return full.index_copy(0, now.flat, out[0]).view(*x.shape[:-1], -1)

    return on_rows


def _decoder_layers(model: nn.Module) -> list[nn.Module]:
    wanted = getattr(cast("Any", model).config.get_text_config(), "num_hidden_layers", 0)
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList) and len(module) == wanted]
    return list(lists[0]) if len(lists) == 1 else []
