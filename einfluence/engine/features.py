"""What a base itself thinks of samples: vectors to measure semantic distance by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Float32, Int, Shaped

from einfluence.engine.measurement import Item, TextItem
from einfluence.engine.structure import settled_model
from einfluence.engine.text.network import decoder_layers, entering
from einfluence.errors import InputError
from einfluence.models.base import Base, Batch
from einfluence.objectives import encode_all
from einfluence.samples import Sample

TOKENS = 1024  # that go through the network at once
AT_ONCE = 256  # items of other kinds


def features(
    base: Base, samples: Sequence[Sample], *, layer: float = 0.5
) -> Float32[npt.NDArray[np.float32], "n *means d"]:
    """What the base makes of each sample: (n, 2, d) for texts to be continued, else (n, d).

    Text to be continued: two means of the hidden states, over all tokens and over those of the target, at the layer
    that is at the fraction ``layer`` of the depth (0 is the embedding). Only at the target has the model read it
    all. Else: what goes into the output layer, the mean over its positions where it has several.

    Raises:
        InputError: For a sample of another objective than the base's, or one that does not fit it.
    """
    items = list(encode_all(base, samples))
    with torch.no_grad():
        if "causal text" in base.objective.can:
            rows = _texts(base, cast("list[TextItem]", items), layer)
        else:
            rows = _entering_head(base, items)
    return np.concatenate([row.float().cpu().numpy() for row in rows]) if rows else np.zeros((0, 0), np.float32)


def _texts(base: Base, items: Sequence[TextItem], layer: float) -> list[torch.Tensor]:
    model = settled_model(base.model)
    device = next(model.parameters()).device
    rows: dict[int, torch.Tensor] = {}
    for batch in _equally_long(items):
        ids = torch.tensor([items[index].ids for index in batch], device=device)
        for index, chosen in zip(batch, states_at(model, ids, layer), strict=True):
            rows[index] = torch.stack([chosen.mean(0), chosen[-items[index].n_target :].mean(0)])[None]
    return [rows[index] for index in range(len(items))]


def states_at(model: torch.nn.Module, ids: Int[torch.Tensor, "n L"], layer: float) -> Float[torch.Tensor, "n L d"]:
    """Hidden states of texts at a fraction of the depth; what comes after it is not computed."""
    states = _states(model, ids, layer)
    plain = states.dim() == 3 and states.shape[:2] == ids.shape
    if plain and (ids.shape[0] != ids.shape[1] or len(_states(model, ids[:1], layer)) == 1):
        return states
    return torch.stack([_of_one(_states(model, text[None], layer)) for text in ids])


def _states(model: torch.nn.Module, ids: torch.Tensor, layer: float) -> torch.Tensor:
    """As :func:`states_at`, laid out in the model's own way."""
    blocks = decoder_layers(model)
    place = round(layer * len(blocks))
    if not place < len(blocks):  # behind the last block, or none is known
        states: Any = cast("Any", model)(ids, output_hidden_states=True, use_cache=False).hidden_states
        return states[round(layer * (len(states) - 1))]
    return entering(blocks[place], lambda: model(ids, use_cache=False))


def _of_one(states: Float[torch.Tensor, "..."]) -> Float[torch.Tensor, "L d"]:
    """The states of one text, whose tokens may come first; what runs side by side (Gemma-3n) is averaged."""
    if states.dim() == 4:
        states = states.mean(2) if states.shape[0] == 1 and states.shape[1] > 1 else states.mean(0)
    return states[0] if states.shape[0] == 1 else states[:, 0]


def _equally_long(items: Sequence[TextItem]) -> Iterator[list[int]]:
    """Indices of texts that need no filling up, in batches."""
    by_length: dict[int, list[int]] = {}
    for index, item in enumerate(items):
        by_length.setdefault(len(item.ids), []).append(index)
    for length, indices in sorted(by_length.items()):
        size = max(TOKENS // length, 1)
        yield from (indices[start : start + size] for start in range(0, len(indices), size))


def _entering_head(base: Base, items: Sequence[Item]) -> list[torch.Tensor]:
    model, parameter = base.model, next(base.model.parameters())
    head = base.objective.head(model)
    if head is None:
        raise InputError("distance", f"features of {base.info.label}, which has no output layer", "another distance")
    seen: list[torch.Tensor] = []
    hook = head.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    try:
        for start in range(0, len(items), AT_ONCE):
            batch = base.objective.collate(items[start : start + AT_ONCE]).to(parameter.device, parameter.dtype)
            base.objective.logits(model, batch)
            if seen[-1].dim() > 2:
                decodes = (
                    "decoder_input_ids" in batch.inputs
                )  # the output layer then reads another text than the mask's
                mask = batch.inputs.get("attention_mask")
                seen[-1] = _at_targets(seen[-1], batch) if decodes else _mean(seen[-1], mask)
    finally:
        hook.remove()
    return seen


def _at_targets(states: torch.Tensor, batch: Batch) -> torch.Tensor:
    """(B, d) means of states (B, L, d) where they predict targets."""
    return _mean(torch.take_along_dim(states, batch.places[..., None], 1), batch.counts)


def _mean(states: Float[torch.Tensor, "B L d"], mask: Shaped[torch.Tensor, "B L"] | None) -> Float[torch.Tensor, "B d"]:
    """Means over the positions that are no padding."""
    if mask is None:
        return states.mean(1)
    share = mask.to(states.dtype) / mask.sum(1, keepdim=True)
    return (states * share[..., None]).sum(1)
