"""What a base itself thinks of samples: vectors to measure semantic distance by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from einfluence.engine.encode import check_modality, encode_text
from einfluence.models.base import Base
from einfluence.samples import Sample


def features(base: Base, samples: Sequence[Sample], *, layer: float = 0.5) -> npt.NDArray[np.float32]:
    """What the base makes of each sample: float32 of shape (n, 2, d) for texts, (n, d) for images.

    Text: two means of the hidden states, over all tokens and over those of the target, at the layer that stands at
    the fraction ``layer`` of the depth (0 is the embedding). Only at the target has a causal model read it all.
    Image: what goes into the last Linear module.

    Raises:
        InputError: For a sample that is not of the base's modality, or does not fit it.
    """
    for sample in samples:
        check_modality(base, sample)
    with torch.no_grad():
        rows = _images(base, samples) if base.info.modality == "image" else _texts(base, samples, layer)
    return np.concatenate([row.float().cpu().numpy() for row in rows]) if rows else np.zeros((0, 0), np.float32)


def _texts(base: Base, samples: Sequence[Sample], layer: float) -> list[torch.Tensor]:
    device = next(base.model.parameters()).device
    rows: list[torch.Tensor] = []
    for sample in samples:
        item = encode_text(base, sample.prompt, sample.target, sample.source or sample.name)
        states: Any = base.model(
            torch.tensor([item.ids], device=device), output_hidden_states=True, use_cache=False
        ).hidden_states
        chosen = states[round(layer * (len(states) - 1))]
        rows.append(torch.stack([chosen.mean(1), chosen[:, -item.n_target :].mean(1)], 1))
    return rows


def _images(base: Base, samples: Sequence[Sample]) -> list[torch.Tensor]:
    last = [module for module in base.model.modules() if isinstance(module, torch.nn.Linear)][-1]
    seen: list[torch.Tensor] = []
    hook = last.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    device = next(base.model.parameters()).device
    try:
        for start in range(0, len(samples), 256):
            pixels = np.stack([np.asarray(sample.pixels, np.float32) for sample in samples[start : start + 256]])
            base.model(torch.from_numpy(pixels).to(device))
    finally:
        hook.remove()
    return seen
