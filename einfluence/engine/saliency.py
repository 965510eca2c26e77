"""Word saliency: how much each part of what a model reads speaks for its target, gradient times input.

After Han et al. 2020 ("Explaining black box predictions and unveiling data artifacts through influence functions"), who
hold it beside influence for the same decision. With the sign of this project: positive speaks for the target, in nats.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from einfluence.engine.gradients.definition import batch_logprobs
from einfluence.engine.measurement import Item
from einfluence.errors import InputError
from einfluence.models.base import Base


class Salient(NamedTuple):
    """What a model reads, and how much each part of it speaks for the target.

    Args:
        ids: Of the T tokens in the order in which they are embedded; none of a picture.
        nats: (T,), or of a picture (height, width): the derivative of the target's log-probability by a factor that
            the token's embedding, or the pixel, is multiplied with.
    """

    ids: tuple[int, ...]
    nats: Float64[Tensor, "..."]


def saliency(base: Base, item: Item) -> Salient:
    """Gradient times input, summed over the numbers of each token's embedding or over a pixel's channels.

    Args:
        base: The base; it is left bit-identical.
        item: What it reads, with the target.

    Raises:
        InputError: When the model has neither token embeddings nor a picture as input.
    """
    like = next(base.model.parameters())
    batch = base.objective.collate([item]).to(like.device, like.dtype)
    pictures = [value for value in batch.inputs.values() if value.is_floating_point() and value.ndim == 4]
    read, ids = list[Tensor](), list[Tensor]()
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        if pictures:
            read += [picture.requires_grad_() for picture in pictures]
            nats = _nats(base, batch)
        else:
            hook = _embeddings(base).register_forward_hook(_reading(read, ids))
            try:
                nats = _nats(base, batch)
            finally:
                hook.remove()
        gradients = torch.autograd.grad(nats, read)
    products = [(value * gradient).detach().cpu().double() for value, gradient in zip(read, gradients, strict=True)]
    if pictures:
        return Salient((), products[0][0].sum(0))
    each = torch.cat([product[0].sum(-1) for product in products])
    return Salient(tuple(int(index) for some in ids for index in some[0].tolist()), each)


def patches(nats: Float64[Tensor, "height width"], side: int) -> Float64[Tensor, "rows columns"]:
    """Sums over squares of a picture of so many pixels a side; those at the lower and right edge may be smaller."""
    height, width = nats.shape
    padded = nn.functional.pad(nats, (0, -width % side, 0, -height % side))
    return padded.unfold(0, side, side).unfold(1, side, side).sum((2, 3))


def _nats(base: Base, batch: Any) -> Tensor:
    logits = base.objective.logits(base.model, batch)
    return batch_logprobs(logits, batch.targets, batch.counts).sum()


def _embeddings(base: Base) -> nn.Module:
    """The module that turns token ids into vectors."""
    find = getattr(base.model, "get_input_embeddings", None)
    found = None if find is None else find()
    if not isinstance(found, nn.Module):
        raise InputError(f"base {base.info.label}", "a model without token embeddings", "one that reads tokens")
    return found


def _reading(read: list[Tensor], ids: list[Tensor]) -> Any:
    """A hook that hands on what an embedding gives as a leaf, and remembers it; encoder and decoder may share one."""

    def hook(_module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        leaf = output.detach().requires_grad_()
        ids.append(inputs[0])
        read.append(leaf)
        return leaf

    return hook
