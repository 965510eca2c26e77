"""Engines: what turns probes and queries into log-probabilities before and after.

:mod:`einfluence.engine.serial` is the definition; the fast engines are held equal to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from torch import Tensor

from einfluence.engine import serial
from einfluence.engine.images import ImageEngine
from einfluence.engine.items import ImageItem, Item, Scores, TextItem, Tuned
from einfluence.engine.text import TextEngine
from einfluence.models.base import Base
from einfluence.spec import Recipe

__all__ = ["ImageItem", "Item", "Scores", "TextItem", "Tuned", "measure"]


def measure(
    base: Base,
    recipe: Recipe,
    probes: Sequence[Sequence[Item]],
    queries: Sequence[Item],
    seed: int,
    *,
    kept: Mapping[int, dict[str, Tensor]] | None = None,
    engine: str = "auto",
) -> tuple[Scores, Iterator[tuple[int, Tuned, Scores | None]]]:
    """Measures every query before, and after training on each probe.

    Args:
        base: The model; it is left bit-identical.
        recipe: How to train.
        probes: N probes, each one sample or a bundle trained together.
        queries: Q samples.
        seed: Seed of the adapter's initialisation.
        kept: For the index of a probe, the ``delta`` of an earlier training, which is used instead of a new one.
        engine: ``auto`` takes the fastest that is exact; ``serial`` the definition.

    Returns:
        The scores (Q,) of the base, and for each probe in order its index, what training left behind, and the
        scores (Q,) after it (None for a probe that failed).
    """
    kept = kept or {}
    if engine == "serial":
        return serial.measure(base, recipe, probes, queries, seed, kept=kept)
    if base.info.modality == "image":
        return ImageEngine(base, recipe, seed).measure(cast("Any", probes), cast("Any", queries), kept)
    if recipe.adapter.kind == "lora":
        return TextEngine(base, recipe, seed).measure(cast("Any", probes), cast("Any", queries), kept)
    return serial.measure(base, recipe, probes, queries, seed, kept=kept)
