"""Which engine is the fastest that is exact."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from einfluence.engine.full import FullEngine
from einfluence.engine.images import ImageEngine
from einfluence.engine.swapped import SwappedEngine
from einfluence.engine.text import BatchedText, TextEngine
from einfluence.engine.unknown import Unknown
from einfluence.models.base import Base
from einfluence.spec import Recipe

Engine = ImageEngine | BatchedText


def fastest(
    base: Base,
    recipe: Recipe,
    seed: int,
    kept: Mapping[int, Mapping[str, Tensor]] | None = None,
    in_turn: bool = False,
) -> Engine | None:
    """The fastest engine that is exact for a base and a recipe; None where only the definition is.

    Args:
        base: The base.
        recipe: How probes are trained.
        seed: Of the adapters.
        kept: Earlier deltas that it must be able to read.
        in_turn: Whether the probes' samples are trained one after the other: only LoRA on texts has a batched form.
    """
    swapped = any(not any(":" in name for name in delta) for delta in (kept or {}).values())
    kinds: list[Callable[[Base, Recipe, int], Engine]] = []
    if base.info.modality == "image":
        kinds = [] if in_turn else [ImageEngine]
    elif recipe.adapter.kind == "lora":
        kinds = [TextEngine]
    elif recipe.optimizer == "sgd" and not swapped and not in_turn:
        kinds = [FullEngine, SwappedEngine]
    else:
        kinds = [SwappedEngine]
    for kind in kinds:
        try:
            return kind(base, recipe, seed)
        except Unknown:
            continue
    return None
