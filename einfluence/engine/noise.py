"""What half precision does to influence, measured where it is used."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from einfluence.engine.items import Item, Scores, Tuned
from einfluence.spec import Recipe

Found = tuple[Scores, Iterator[tuple[int, Tuned, Scores | None]]]
PROBES, QUERIES = 3, 64


class NoiseWarning(UserWarning):
    """Influence is less than ten times the noise of the precision it was computed in."""


def with_noise(
    measure: Any, recipe: Recipe, probes: Sequence[Sequence[Item]], queries: Sequence[Item], found: Found
) -> Found:
    """Adds ``noise_rms`` to what was measured in half precision.

    Args:
        measure: Called with a recipe, probes and queries, measures them.
        recipe: In half precision.
        probes: The first few are measured again in float32, and in half precision beside it.
        queries: Some of them are asked.
        found: What was measured with this recipe.

    Warns:
        NoiseWarning: Where the root mean square influence is below ten times the noise.
    """
    few = list(probes[:PROBES])
    step = max(len(queries) // QUERIES, 1)
    some = list(queries[::step][:QUERIES])
    precise = recipe.model_copy(update={"dtype": "float32"})
    pairs = [_rows(measure(kind, few, some)) for kind in (recipe, precise)]
    both = [(a, b) for a, b in zip(*pairs, strict=True) if a is not None and b is not None]
    if not both:
        return found
    half, full = (np.array(side) for side in zip(*both, strict=True))
    noise, signal = float(np.sqrt(((half - full) ** 2).mean())), float(np.sqrt((full**2).mean()))
    if signal < 10 * noise:
        text = f"influence is {signal:.2g} nats where {recipe.dtype} is off by {noise:.2g}; float32 would tell more"
        warnings.warn(text, NoiseWarning, stacklevel=3)
    before, rows = found
    return before, ((index, replace(tuned, noise_rms=noise), after) for index, tuned, after in rows)


def _rows(found: Found) -> list[np.ndarray | None]:
    before, rows = found
    return [None if after is None else after.logprob - before.logprob for _, _, after in rows]
