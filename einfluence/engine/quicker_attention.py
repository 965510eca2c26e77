"""Attention among recorded operations, where it can be had in less time: of few rows, and of short texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from einfluence.engine.operations import ATEN, PRODUCTS, Operation, Slot
from einfluence.engine.read_rows import Attended

VIEWS: set[Any] = {ATEN.view.default, ATEN.reshape.default, ATEN._unsafe_view.default}
LANES = 16  # float32 numbers that a CPU takes at once; of a rest torch's softmax takes one after the other


def quicker_attention(operations: Sequence[Operation]) -> list[Operation]:
    """Operations that give the same; of those that they do without, the outcome is taken by none.

    Args:
        operations: In their order.
    """
    if any(each.writes for each in operations):  # what rows were is not what they became
        return list(operations)
    given = {each.out.place: each for each in operations if isinstance(each.out, Slot)}
    return [
        _instead(each, given) if each.run is ATEN.scaled_dot_product_attention.default else each for each in operations
    ]


def _instead(each: Operation, given: Mapping[int, Operation]) -> Operation:
    asked = Attended(*each.args, **each.kwargs)
    plain = asked.attn_mask is None and not (asked.dropout_p or asked.is_causal or asked.enable_gqa)
    query, key, value = (given.get(some.place) if isinstance(some, Slot) else None for some in asked[:3])
    if not (plain and query and key and value and query.shape and key.shape and len(key.shape) == 4):
        return each
    (*_, few, width), (_, heads, length, _) = query.shape, key.shape
    scale = width**-0.5 if asked.scale is None else asked.scale
    left, right = _of_heads(key, given), _of_heads(value, given)
    if left and right and 2 * few * heads * (width + length) < length * heads * width:
        return replace(each, run=_of_few_rows, args=(asked.query, *left[:2], *right, scale), kwargs={})
    if length % LANES > LANES // 2:
        return replace(each, run=_of_short_texts, args=(*asked[:3], scale), kwargs={})
    return each


def _of_heads(each: Operation, given: Mapping[int, Operation]) -> tuple[Slot, Tensor, Tensor | None] | None:
    """The product that heads were made of: what was multiplied, the weight and the bias; None where it was none."""
    if each.run is not ATEN.transpose.int or sorted(each.args[1:]) != [1, 2]:
        return None
    view = given.get(each.args[0].place)
    if view is None or view.run not in VIEWS or not isinstance(view.args[0], Slot):
        return None
    product = given.get(view.args[0].place)
    if product is None or product.run not in PRODUCTS or not (view.shape and product.shape):
        return None
    x, weight, bias = (*product.args, None)[:3]
    split = len(product.shape) == 3 and view.shape[:2] == product.shape[:2]
    if not (split and isinstance(x, Slot) and isinstance(weight, Tensor)) or isinstance(bias, Slot):
        return None
    return x, weight, bias


def _of_few_rows(
    query: Float[Tensor, "B H T D"],
    x: Float[Tensor, "B L E"],
    weight: Float[Tensor, "HD E"],
    other: Float[Tensor, "B L F"],
    by: Float[Tensor, "HD F"],
    bias: Float[Tensor, " HD"] | None,
    scale: float,
) -> Float[Tensor, "B H T D"]:
    """Attention to keys and values that are products of L rows, without these: queries are multiplied instead.

    Its key's bias adds the same to all scores of a query, so nothing to what softmax gives.
    """
    b, h, t, d = query.shape
    asked = query.transpose(0, 1).reshape(h, b * t, d) @ weight.view(h, d, -1)
    asked = asked.view(h, b, t, -1).transpose(0, 1).reshape(b, h * t, -1)
    scores = (asked @ x.transpose(1, 2)).mul_(scale).softmax(-1)
    found = (scores @ other).view(b, h, t, -1).transpose(0, 1).reshape(h, b * t, -1)
    out = found @ by.view(h, d, -1).transpose(1, 2)
    if bias is not None:
        out += bias.view(h, 1, d)
    return out.view(h, b, t, d).transpose(0, 1)


def _of_short_texts(
    query: Float[Tensor, "B H T D"], key: Float[Tensor, "B H L D"], value: Float[Tensor, "B H L D"], scale: float
) -> Float[Tensor, "B H T D"]:
    """Attention to as many rows as a CPU takes at once, of which the last are masked."""
    more = -key.shape[-2] % LANES
    key, value = (F.pad(some, (0, 0, 0, more)) for some in (key, value))
    mask = _mask(key.shape[-2] - more, more, query.dtype).expand(query.shape[-2], -1)
    return F.scaled_dot_product_attention(query, key, value, mask, scale=scale)


@cache
def _mask(length: int, more: int, dtype: torch.dtype) -> Float[Tensor, "1 padded"]:
    return torch.cat([torch.zeros(1, length, dtype=dtype), torch.full((1, more), -torch.inf, dtype=dtype)], 1)
