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

__all__ = ["ImageItem", "Item", "Scores", "TextItem", "Tuned", "measure", "train"]


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
    fast = _fast(base, recipe, seed) if engine == "auto" else None
    if fast is None:
        return serial.measure(base, recipe, probes, queries, seed, kept=kept)
    return fast.measure(cast("Any", probes), cast("Any", queries), kept or {})


def train(base: Base, recipe: Recipe, probes: Sequence[Sequence[Item]], seed: int) -> list[Tuned]:
    """Trains on N probes at once, each alone, without scoring anything; all N are held in memory."""
    fast = _fast(base, recipe, seed)
    if fast is None:
        return [serial.train(base, recipe, probe, seed) for probe in probes]
    return fast.train_all(cast("Any", probes))


def _fast(base: Base, recipe: Recipe, seed: int) -> ImageEngine | TextEngine | None:
    if base.info.modality == "image":
        return ImageEngine(base, recipe, seed)
    return TextEngine(base, recipe, seed) if recipe.adapter.kind == "lora" else None
