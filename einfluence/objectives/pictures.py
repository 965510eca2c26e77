"""Pictures as classifiers of images take them, however those are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from einfluence.errors import InputError
from einfluence.models.base import Batch
from einfluence.samples import Sample


@dataclass(frozen=True, eq=False)
class ImageItem:
    """An encoded image: ``pixels`` of shape (channels, height, width), float32, and its class index."""

    pixels: npt.NDArray[np.float32]
    label: int
    n_target: int = field(default=1, init=False)
    size: int = field(default=1, init=False)


def encode_picture(sample: Sample, where: str, shape: tuple[int, int, int], n_classes: int) -> ImageItem:
    """Pixels and class of a sample.

    Args:
        sample: An image.
        where: What error messages call it.
        shape: (channels, height, width) that the model takes.
        n_classes: How many classes it has.

    Raises:
        InputError: For an image that cannot be read or has another shape, or a class that the model does not have.
    """
    label = -1 if sample.label is None else sample.label
    if sample.pixels is None:
        raise InputError(where, "an image that cannot be read", "an image")
    if sample.pixels.shape != shape:
        raise InputError(
            where,
            f"an image of shape {tuple(sample.pixels.shape)}",
            f"{shape} (channels, height, width), what the model takes",
        )
    if not 0 <= label < n_classes:
        raise InputError(where, f"the label {label}", f"a class from 0 to {n_classes - 1}")
    return ImageItem(np.ascontiguousarray(sample.pixels, dtype=np.float32), label)


def stacked(items: Sequence[ImageItem]) -> Batch:
    """Pictures (B, channels, height, width) under ``pixels``; one target each."""
    import torch

    pixels = torch.from_numpy(np.stack([item.pixels for item in items]))
    targets = torch.tensor([[item.label] for item in items])
    return Batch({"pixels": pixels}, torch.zeros_like(targets), targets, torch.ones_like(targets, dtype=torch.bool))
