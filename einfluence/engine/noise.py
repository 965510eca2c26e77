"""What rounding does to influence, measured where it is used: half precision, and Adam, which amplifies it."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from einfluence.engine.batch_sizes import held_bytes, memory_budget
from einfluence.engine.measurement import Item, Measurement
from einfluence.engine.schedule import Training
from einfluence.models.base import Base
from einfluence.spec import Recipe

# Of 64 queries every fourth gives the same noise within 12 %; three probes give within 7 to 50 % what three others do.
PROBES, QUERIES = 3, 16


class NoiseWarning(UserWarning):
    """Influence is less than ten times the noise of the precision it was computed in."""


def with_noise(
    measure: Any,
    base: Base,
    recipe: Recipe,
    probes: Sequence[Training[Item]],
    queries: Sequence[Item],
    found: Measurement,
) -> Measurement:
    """Adds ``noise_rms`` to what was measured where rounding can be large.

    Adam divides each gradient by its own size, so where a gradient is next to nothing it is rounding that decides.

    Args:
        measure: Called with a recipe, probes and queries, measures them.
        base: The base.
        recipe: How probes were trained.
        probes: The first few are measured again, more precisely.
        queries: Some of them are scored.
        found: What was measured with this recipe.

    Warns:
        NoiseWarning: Where the root mean square influence is below ten times the noise.
    """
    precise = _more_precise(base, recipe)
    if precise is None or not any(probe.steps for probe in probes):
        return found
    before, rows = found
    first = list(itertools.islice(rows, PROBES))
    rows = itertools.chain(first, rows)
    step = max(len(queries) // QUERIES, 1)
    queried = range(0, len(queries), step)[:QUERIES]
    trained = [(row.probe, row.after) for row in first if row.after is not None and row.tuned.losses]
    try:
        again = _influences(measure(precise, [probes[index] for index, _ in trained], [queries[i] for i in queried]))
    except Exception:  # not every base can be run in that precision; then its noise is not known
        return Measurement(before, rows)
    own = [(after.logprob - before.logprob)[queried] for _, after in trained]
    both = [(a, b) for a, b in zip(own, again, strict=True) if b is not None]
    if not both or not queried:
        return Measurement(before, rows)
    rough, fine = (np.array(side) for side in zip(*both, strict=True))
    read = np.isfinite(rough)  # of pieces of a block, some cells are not
    if not read.all():
        rough, fine = rough[read], fine[read]
    if not rough.size:
        return Measurement(before, rows)
    noise, signal = float(np.sqrt(((rough - fine) ** 2).mean())), float(np.sqrt((fine**2).mean()))
    if signal < 10 * noise:
        off = f"influence is {signal:.2g} nats where {recipe.dtype} is off by {noise:.2g}"
        warnings.warn(f"{off}; {precise.dtype} would tell more", NoiseWarning, stacklevel=3)
    return Measurement(before, (row._replace(tuned=replace(row.tuned, noise_rms=noise)) for row in rows))


def _more_precise(base: Base, recipe: Recipe) -> Recipe | None:
    """The recipe to compare with; None where rounding is no matter, or where it would take too much to know."""
    if recipe.dtype == "bfloat16":
        return recipe.model_copy(update={"dtype": "float32"})
    if recipe.dtype != "float32" or recipe.optimizer.kind == "sgd":
        return None
    device = next(base.model.parameters()).device
    if device.type != "cpu" or held_bytes(base.model, 8) > memory_budget(device) // 4:
        return None
    return recipe.model_copy(update={"dtype": "float64"})


def _influences(found: Measurement) -> list[np.ndarray | None]:
    before = found.before.logprob
    return [None if row.after is None else row.after.logprob - before for row in found.rows]
