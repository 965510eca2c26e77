"""Scores all query images with one network after another."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from einfluence.engine.measurement import ImageItem, Scores
from einfluence.engine.stacked_layers import Unfolded, unfolds


@dataclass(frozen=True)
class ImageSizes:
    """How much is computed at once; from shapes alone, so that a shard repeats bit for bit.

    Args:
        train: Parameters (numbers) of all probes in a training batch.
        most: Trainings side by side.
        images: Images that these read in a step.
        score: Images in an evaluation batch; None for as many as keep a layer's output in the processor's cache.
        keep: Bytes that may be spent on what goes into the first trained layer, which is the same for every probe.
    """

    train: int = 4_000_000
    most: int = 64
    images: int = 4096
    score: int | None = None
    keep: int = 1 << 28


class ImageScorer:
    """All query images, in batches that are always the same.

    What comes before the first trained layer is computed once, and so is the unfolding of what goes into it.

    Args:
        model: The classifier.
        trained: The layers whose parameters differ from probe to probe.
        queries: Q images.
        sizes: Batch sizes.
        dtype: Of the pixels.
        device: Of the model.
    """

    def __init__(
        self,
        model: nn.Module,
        trained: Collection[nn.Module],
        queries: Sequence[ImageItem],
        sizes: ImageSizes,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        below, self.front, self.tail = _thirds(model, trained)
        size = sizes.score or _in_cache(model, queries, dtype, device)
        pixels = [image_batch(queries[i : i + size], dtype, device)[0] for i in range(0, len(queries), size)]
        self.parts: list[Tensor | Unfolded] = [*pixels]
        with torch.inference_mode():
            enter = _entering(below, self.front)
            if pixels and _bytes(enter(pixels[0])) * len(pixels) <= sizes.keep:
                self.parts = [enter(each) for each in pixels]
            else:
                self.front = nn.Sequential(below, self.front)
        self.labels = torch.tensor([item.label for item in queries], device=device)[:, None]
        self.n_tokens = np.ones(len(queries), dtype=np.int64)

    @torch.inference_mode()
    def score(self) -> Scores:
        """Scores the queries with the parameters that are in the network now."""
        if not self.parts:
            return Scores(np.zeros(0), self.n_tokens, self.n_tokens)
        logits = self.tail(torch.cat([self.front(part) for part in self.parts]))
        logits = logits if logits.dtype == torch.float64 else logits.float()
        logprob = logits.log_softmax(-1).gather(-1, self.labels)[:, 0]
        rank = (logits > logits.gather(-1, self.labels)).sum(-1) + 1
        return Scores(logprob.cpu().double().numpy(), self.n_tokens, rank.cpu().numpy())


def _thirds(model: nn.Module, trained: Collection[nn.Module]) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Up to the first trained layer; up to where images are flattened; the rest, best run on all of them at once."""
    if type(model) is not nn.Sequential:
        return nn.Identity(), model, nn.Identity()
    layers = list(model)
    start = next((i for i, layer in enumerate(layers) if any(m in trained for m in layer.modules())), len(layers))
    flat = next((i + 1 for i, layer in enumerate(layers) if type(layer) is nn.Flatten), len(layers))
    flat = max(start, flat)
    return nn.Sequential(*layers[:start]), nn.Sequential(*layers[start:flat]), nn.Sequential(*layers[flat:])


def _entering(below: nn.Module, front: nn.Module) -> Callable[[Tensor], Tensor | Unfolded]:
    first = front[0] if type(front) is nn.Sequential and len(front) else None

    def enter(pixels: Tensor) -> Tensor | Unfolded:
        x = below(pixels)
        return Unfolded.of(cast("nn.Conv2d", first), x) if first is not None and unfolds(first) else x

    return enter


def _bytes(entering: Tensor | Unfolded) -> int:
    tensor = entering.patches if isinstance(entering, Unfolded) else entering
    return tensor.numel() * tensor.element_size()


@torch.inference_mode()
def _in_cache(model: nn.Module, queries: Sequence[ImageItem], dtype: torch.dtype, device: torch.device) -> int:
    largest = [1]

    def note(_: nn.Module, _in: object, out: object) -> None:
        largest.append(out.numel() if isinstance(out, Tensor) else 1)

    hooks = [module.register_forward_hook(note) for module in model.modules()]
    if queries:
        model(image_batch(queries[:1], dtype, device)[0])
    for hook in hooks:
        hook.remove()
    return min(max(_CACHED // max(largest), 16), 512)


_CACHED = 1 << 19  # numbers; with their inputs they fit a second-level cache of 2 to 4 MB


def image_batch(
    items: Sequence[ImageItem], dtype: torch.dtype, device: torch.device
) -> tuple[Float[Tensor, "B channels height width"], Int[Tensor, " B"]]:
    """Pixels and class indices of some items."""
    pixels = torch.from_numpy(np.stack([item.pixels for item in items])).to(device, dtype)
    labels = torch.tensor([item.label for item in items], device=device)
    return pixels.contiguous(memory_format=torch.channels_last), labels
