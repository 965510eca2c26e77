"""Attention for many probes at once, over sequences that are really many texts laid end to end.

Registered with transformers under :data:`NAME`, so that any model that looks its attention up there can be run by the
fast engines without a change to its code. Models hand in queries, keys and values with positions already in them; to
everything but attention the order of tokens is all the same, so texts need no filling up there.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import AttentionInterface

from einfluence.errors import InputError

NAME = "einfluence"


class Stop(Exception):
    """Ends a forward pass when all that was wanted of it has been recorded."""


@dataclass
class TextTable:
    """Texts as rows of a table, filled up on the right: G groups of n rows, each row after its group's prefix.

    Args:
        groups: G.
        shared: P, the width of the table of prefixes; 0 where there is no prefix.
        rows: G * n.
        width: S.
        lengths: True lengths of the prefixes.
    """

    groups: int = 1
    shared: int = 0
    rows: int = 1
    width: int = 0
    lengths: Int[Tensor, " G"] | None = None
    masks: dict[tuple[Any, ...], Tensor] = field(default_factory=dict[tuple[Any, ...], Tensor])

    @property
    def prefixed(self) -> int:
        """Places of the prefixes, which come before those of the rows."""
        return self.groups * self.shared

    @property
    def places(self) -> int:
        """All of them."""
        return self.prefixed + self.rows * self.width


@dataclass
class PackedLayout:
    """Who sees whom in a sequence of L tokens, the same for every element of the batch.

    The tokens are those of tables of texts, one table after the other, once what fills these up has been left out.

    Args:
        tables: The tables; without any, all tokens are one text.
        taken: Which token is in each of their places (any, where none is); None if all are taken.
        places: The place of each token; None if all are taken.
        joined: Whether all elements of a batch are one sequence, whose texts each lie within one element.
        seen: The attention modules in the order of their calls; ``windows`` how far each one looks back.
    """

    tables: Sequence[TextTable] = ()
    taken: Int[Tensor, " places"] | None = None
    places: Int[Tensor, " L"] | None = None
    joined: bool = False
    seen: list[torch.nn.Module] = field(default_factory=list[torch.nn.Module])
    windows: list[int | None] = field(default_factory=list[int | None])

    @classmethod
    def of_rows(cls, rows: int = 1, width: int = 0) -> PackedLayout:
        """So many texts of one length, end to end."""
        return cls([TextTable(rows=rows, width=width)])


_current: ContextVar[PackedLayout | None] = ContextVar("einfluence_attention", default=None)

# What models hand along that changes nothing here: flags for other implementations, and what is already in the queries.
_IDLE = frozenset(
    "dropout output_attentions output_hidden_states use_cache position_ids cache_position position_embeddings "
    "return_dict logits_to_keep num_items_in_batch past_key_values cu_seq_lens_q cu_seq_lens_k max_length_q "
    "max_length_k output_router_logits".split()
)


@contextmanager
def use_layout(layout: PackedLayout) -> Generator[PackedLayout]:
    """Makes ``layout`` what the attention of this thread's forward passes follows."""
    token = _current.set(layout)
    try:
        yield layout
    finally:
        _current.reset(token)


@dataclass(frozen=True)
class _Rule:
    scale: float
    window: int | None
    softcap: float | None


def attend(
    module: torch.nn.Module,
    query: Float[Tensor, "B heads L width"],
    key: Float[Tensor, "B kv_heads L width"],
    value: Float[Tensor, "B kv_heads L out_width"],
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    is_causal: bool | None = None,
    **others: Any,
) -> tuple[Float[Tensor, "B L heads out_width"], None]:
    """Attention as transformers' interface has it.

    Raises:
        InputError: When the model asks for something that is not known here (sinks, biases, a mask of its own).
    """
    layout = _current.get()
    unknown = [name for name, given in others.items() if given is not None and name not in _IDLE]
    if layout is None or attention_mask is not None or unknown or is_causal is False:
        found = f"attention of {type(module).__name__} with {', '.join(unknown) or 'a mask of its own'}"
        raise InputError("base", found, "plain causal attention")
    layout.seen.append(module)
    layout.windows.append(sliding_window)
    rule = _Rule(query.shape[-1] ** -0.5 if scaling is None else scaling, sliding_window, softcap)
    q, k, v = (part.transpose(1, 2) for part in (query, key, value))  # (B, L, heads, width)
    shape = q.shape
    if layout.joined:
        q, k, v = (part.reshape(1, -1, *part.shape[2:]) for part in (q, k, v))
    if layout.taken is not None:
        q, k, v = (part.index_select(1, layout.taken) for part in (q, k, v))
    out = _tables(layout.tables, q, k, v, rule)
    out = out if layout.places is None else out.index_select(1, layout.places)
    return (out.reshape(*shape[:3], -1) if layout.joined else out), None


def _tables(
    tables: Sequence[TextTable],
    q: Float[Tensor, "B places heads width"],
    k: Float[Tensor, "B places kv_heads width"],
    v: Float[Tensor, "B places kv_heads out_width"],
    rule: _Rule,
) -> Float[Tensor, "B places heads out_width"]:
    """The attention of tables whose places lie one after the other."""
    if not tables:
        return _alone(TextTable(), _Texts.of(q, k, v, 1), rule)
    found: list[Tensor] = []
    end = 0
    for table in tables:
        begin, first, end = end, end + table.prefixed, end + table.places
        own = _Texts.of(q[:, first:end], k[:, first:end], v[:, first:end], table.rows)
        if table.shared:
            prefix = _Texts.of(q[:, begin:first], k[:, begin:first], v[:, begin:first], table.groups)
            found += [_alone(table, prefix, rule), _after_prefix(table, prefix, own, rule)]
        else:
            found.append(_alone(table, own, rule))
    return found[0] if len(found) == 1 else torch.cat(found, 1)


@dataclass(frozen=True)
class _Texts:
    """Queries, keys and values of the texts in ``batch`` sequences."""

    q: Float[Tensor, "texts heads length width"]
    k: Float[Tensor, "texts kv_heads length width"]
    v: Float[Tensor, "texts kv_heads length out_width"]
    batch: int

    @classmethod
    def of(
        cls,
        q: Float[Tensor, "B tokens heads width"],
        k: Float[Tensor, "B tokens kv_heads width"],
        v: Float[Tensor, "B tokens kv_heads out_width"],
        texts: int,
    ) -> _Texts:
        """Cuts each sequence into equally long texts."""
        batch = q.shape[0]
        q, k, v = (x.reshape(batch * texts, -1, *x.shape[2:]).transpose(1, 2) for x in (q, k, v))
        return cls(q, k, v, batch)

    def flat(self, out: Float[Tensor, "texts heads length width"]) -> Float[Tensor, "B tokens heads width"]:
        """Lays the texts end to end again."""
        return out.transpose(1, 2).reshape(self.batch, -1, out.shape[1], out.shape[3])


def _alone(table: TextTable, texts: _Texts, rule: _Rule) -> Float[Tensor, "B tokens heads width"]:
    q, k, v = texts.q, texts.k, texts.v
    count, heads, length, width = q.shape
    window = rule.window if rule.window is not None and rule.window < length else None
    short = q.device.type == "cpu" and 6 <= length < 64
    exact = q.dtype in (torch.float32, torch.float64)
    if rule.softcap is None and window is None and not (short and exact and not torch.is_grad_enabled()):
        grouped, causal = heads != k.shape[1], length > 1
        attention = torch.nn.functional.scaled_dot_product_attention
        return texts.flat(attention(q, k, v, is_causal=causal, scale=rule.scale, enable_gqa=grouped))
    fill = max(-length % 8, 16 - length) if short else 0  # a softmax over few keys that are no multiple is slow
    kv = k.shape[1]
    k, v = (_padded(x, fill).reshape(count * kv, length + fill, -1) for x in (k, v))
    query = q.reshape(count * kv, heads // kv * length, width)
    mask = _own_mask(table, q, window, fill).repeat(heads // kv, 1).expand(count * kv, -1, -1)
    if rule.softcap is None:
        scores = torch.baddbmm(mask, query, k.transpose(1, 2), alpha=rule.scale)
    else:
        scores = _capped(query @ k.transpose(1, 2) * rule.scale, rule.softcap) + mask
    return texts.flat((scores.softmax(-1) @ v).view(count, heads, length, v.shape[-1]))


def _after_prefix(table: TextTable, prefix: _Texts, own: _Texts, rule: _Rule) -> Float[Tensor, "B tokens heads width"]:
    """Rows see their group's prefix, which is not copied for each of them, and then themselves."""
    count, heads, length, width = own.q.shape
    sets, kv, shared = prefix.k.shape[:3]  # sets = B * G
    n, each, out_width = (
        count // sets,
        heads // kv * length,
        own.v.shape[-1],
    )  # rows a group; queries a key head and row
    fill = -(shared + length) % 8 if own.q.device.type == "cpu" else 0  # as above
    keys, values = _padded(own.k, fill), _padded(own.v, fill)
    mask = _prefix_mask(table, own.q, shared, rule.window, fill)
    query = own.q.reshape(count, kv, each, width)
    by_group = query.view(sets, n, kv, each, width).transpose(1, 2).reshape(sets, kv, n * each, width)
    to_prefix = by_group @ prefix.k.transpose(-1, -2)  # (sets, kv, n * each, P)
    to_own = (query @ keys.transpose(-1, -2)).view(sets, n, kv, each, length + fill).transpose(1, 2)
    scores = torch.cat([to_prefix.view(sets, kv, n, each, shared), to_own], -1)
    scores = _capped(scores.mul_(rule.scale), rule.softcap)
    shape = (own.batch, table.groups, kv, n, heads // kv, length, shared + length + fill)
    weights = scores.view(shape).add_(mask).softmax(-1).view(sets, kv, n * each, shape[-1])
    from_prefix = (weights[..., :shared] @ prefix.v).view(sets, kv, n, each, out_width).transpose(1, 2)
    own_weights = weights[..., shared:].view(sets, kv, n, each, -1).transpose(1, 2).reshape(count, kv, each, -1)
    out = from_prefix + (own_weights @ values).view(sets, n, kv, each, out_width)
    return own.flat(out.reshape(count, heads, length, out_width))


def _padded(x: Float[Tensor, "*batch length width"], fill: int) -> Float[Tensor, "*batch length+{fill} width"]:
    """Pads the lengths on the right; padding by nothing would copy."""
    return torch.nn.functional.pad(x, (0, 0, 0, fill)) if fill else x


def _capped(scores: Float[Tensor, "*shape"], softcap: float | None) -> Float[Tensor, "*shape"]:
    return scores if softcap is None else torch.tanh(scores / softcap) * softcap


def _own_mask(
    table: TextTable, query: Float[Tensor, "texts heads length width"], window: int | None, fill: int
) -> Float[Tensor, "length length+{fill}"]:
    """What is added to the scores: no token attends to padding."""
    length = query.shape[2]
    name = ("own", length, window)
    if name not in table.masks:
        back = torch.arange(length)[:, None] - torch.arange(length + fill)[None, :]
        hidden = (back < 0) | (back >= (window or length))
        table.masks[name] = torch.zeros(hidden.shape).masked_fill(hidden, -torch.inf).to(query)
    return table.masks[name]


def _prefix_mask(
    table: TextTable, query: Float[Tensor, "texts heads length width"], shared: int, window: int | None, fill: int
) -> Float[Tensor, "G 1 1 1 length {shared}+length+{fill}"]:
    length = query.shape[2]
    name = ("prefix", length, shared, window)
    if name not in table.masks:
        reach = window or 1 << 40
        lengths = torch.full((1,), shared) if table.lengths is None else table.lengths.cpu()
        starts = lengths[:, None, None]  # (G, 1, 1)
        at = torch.arange(length)[None, :, None]
        slot = torch.arange(shared)[None, None, :]
        hidden = (slot >= starts) | (starts + at - slot >= reach)
        back = at - torch.arange(length)[None, None, :]
        own = torch.nn.functional.pad((back < 0) | (back >= reach), (0, fill), value=True).expand(len(starts), -1, -1)
        hidden = torch.cat([hidden, own], -1)
        mask = torch.zeros(hidden.shape).masked_fill(hidden, -torch.inf)
        table.masks[name] = mask[:, None, None, None].to(query)
    return table.masks[name]


AttentionInterface.register(NAME, attend)  # pyright: ignore[reportArgumentType]
