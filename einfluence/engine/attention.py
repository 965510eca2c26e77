"""Attention for many probes at once: causal, padded on the right, after a prefix computed earlier.

Registered with transformers under :data:`NAME`, so that any model that looks its attention up there can be run by the
fast engines without a change to its code. Models hand in queries, keys and values with positions already in them.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor
from transformers import AttentionInterface

from einfluence.errors import InputError

NAME = "einfluence"

KeyValue = tuple[Tensor, Tensor]


class Stop(Exception):
    """Ends a forward pass when all that was wanted of it has been recorded."""


@dataclass
class Pass:
    """What one forward pass does about attention.

    Args:
        record: Fill ``kept`` with each layer's keys and values.
        stop_after: The layer after whose keys and values the pass ends by raising :class:`Stop`.
        context: Each layer's keys and values of the prefixes: (c * G, heads, P, width); None without prefix.
        prefix_length: (G,) true prefix lengths.
        groups: G; each probe's rows are G groups of equally many rows.
        seen: The attention modules in the order of their calls.
    """

    record: bool = False
    stop_after: torch.nn.Module | None = None
    context: dict[torch.nn.Module, KeyValue] | None = None
    prefix_length: Tensor | None = None
    groups: int = 1
    kept: dict[torch.nn.Module, KeyValue] = field(default_factory=dict[torch.nn.Module, KeyValue])
    seen: list[torch.nn.Module] = field(default_factory=list[torch.nn.Module])
    masks: dict[tuple[Any, ...], Tensor] = field(default_factory=dict[tuple[Any, ...], Tensor])


_current: ContextVar[Pass | None] = ContextVar("einfluence_attention", default=None)

# What models hand along that changes nothing here: flags for other implementations, and what is already in the queries.
_IDLE = frozenset(
    "dropout output_attentions output_hidden_states use_cache position_ids cache_position position_embeddings "
    "return_dict logits_to_keep num_items_in_batch past_key_values cu_seq_lens_q cu_seq_lens_k max_length_q "
    "max_length_k output_router_logits".split()
)


@contextmanager
def attending(run: Pass) -> Generator[Pass]:
    """Makes ``run`` what the attention of this thread's forward passes follows."""
    token = _current.set(run)
    try:
        yield run
    finally:
        _current.reset(token)


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    is_causal: bool | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Causal attention as transformers' interface has it: (B, heads, S, width) in, (B, S, heads, width) out.

    Raises:
        InputError: When the model asks for something that is not known here (sinks, biases, a mask of its own).
    """
    run = _current.get()
    unknown = [name for name, given in others.items() if given is not None and name not in _IDLE]
    if run is None or attention_mask is not None or unknown or is_causal is False:
        found = f"attention of {type(module).__name__} with {', '.join(unknown) or 'a mask of its own'}"
        raise InputError("base", found, "plain causal attention", "run it with the serial engine")
    run.seen.append(module)
    if run.record:
        run.kept[module] = (key, value)
    if module is run.stop_after:
        raise Stop
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if run.context is not None:
        return _after_prefix(run, run.context[module], query, key, value, scale, sliding_window, softcap), None
    window = sliding_window if sliding_window is not None and sliding_window < query.shape[2] else None
    if softcap is None and window is None:
        grouped = query.shape[1] != key.shape[1]
        attention = torch.nn.functional.scaled_dot_product_attention
        out = attention(query, key, value, is_causal=query.shape[2] > 1, scale=scale, enable_gqa=grouped)
        return out.transpose(1, 2), None
    batch, heads, length, width = query.shape
    kv = key.shape[1]
    scores = query.reshape(batch, kv, heads // kv * length, width) @ key.transpose(-1, -2)
    scores = _capped(scores * scale, softcap).view(batch, heads, length, length) + _own_mask(run, query, window)
    out = scores.softmax(-1).view(batch, kv, heads // kv * length, length) @ value
    return out.view(batch, heads, length, value.shape[-1]).transpose(1, 2), None


def _after_prefix(
    run: Pass,
    context: KeyValue,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float,
    window: int | None,
    softcap: float | None,
) -> Tensor:
    """Rows see their group's prefix, which is not copied for each of them, and then themselves."""
    before_key, before_value = context
    batch, heads, length, width = query.shape
    kv, shared = before_key.shape[1], before_key.shape[2]
    sets = before_key.shape[0]  # c * G
    n, each = batch // sets, heads // kv * length  # rows a group; queries a key head and row
    mask = _prefix_mask(run, query, shared, window)  # (G, 1, 1, 1, S, P + S)
    own_query = query.reshape(batch, kv, each, width)
    group_query = own_query.view(sets, n, kv, each, width).transpose(1, 2).reshape(sets, kv, n * each, width)
    group_scores = group_query @ before_key.transpose(-1, -2)  # (sets, kv, n * each, P)
    own_scores = (own_query @ key.transpose(-1, -2)).view(sets, n, kv, each, length).transpose(1, 2)
    scores = torch.cat([group_scores.view(sets, kv, n, each, shared), own_scores], -1)
    scores = _capped(scores.mul_(scale), softcap)
    shape = (sets // run.groups, run.groups, kv, n, heads // kv, length, shared + length)
    weights = (scores.view(shape) + mask).softmax(-1).view(sets, kv, n * each, shared + length)
    out = weights[..., :shared] @ before_value  # (sets, kv, n * each, width)
    own_weights = weights[..., shared:].view(sets, kv, n, each, length).transpose(1, 2).reshape(batch, kv, each, length)
    out_width = value.shape[-1]
    out = out.view(sets, kv, n, each, out_width).transpose(1, 2) + (own_weights @ value).view(
        sets, n, kv, each, out_width
    )
    return out.reshape(batch, heads, length, out_width).transpose(1, 2)


def _capped(scores: Tensor, softcap: float | None) -> Tensor:
    return scores if softcap is None else torch.tanh(scores / softcap) * softcap


def _own_mask(run: Pass, query: Tensor, window: int | None) -> Tensor:
    length = query.shape[2]
    name = ("own", length, window)
    if name not in run.masks:
        back = torch.arange(length)[:, None] - torch.arange(length)[None, :]
        hidden = (back < 0) | (back >= (window or length))
        run.masks[name] = torch.zeros(length, length).masked_fill(hidden, -torch.inf).to(query)
    return run.masks[name]


def _prefix_mask(run: Pass, query: Tensor, shared: int, window: int | None) -> Tensor:
    length = query.shape[2]
    name = ("prefix", length, shared, window)
    if name not in run.masks:
        reach = window or 1 << 40
        starts = cast("Tensor", run.prefix_length).cpu()[:, None, None]  # (G, 1, 1)
        at = torch.arange(length)[None, :, None]
        slot = torch.arange(shared)[None, None, :]
        hidden = (slot >= starts) | (starts + at - slot >= reach)
        back = at - torch.arange(length)[None, None, :]
        own = ((back < 0) | (back >= reach)).expand(len(starts), -1, -1)
        mask = torch.zeros(len(starts), length, shared + length).masked_fill(torch.cat([hidden, own], -1), -torch.inf)
        run.masks[name] = mask[:, None, None, None].to(query)
    return run.masks[name]


AttentionInterface.register(NAME, attend)  # pyright: ignore[reportArgumentType]
