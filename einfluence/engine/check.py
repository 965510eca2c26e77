"""Before a fast engine is believed: what it must refuse, and one probe held against the serial definition."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from einfluence.engine import serial
from einfluence.engine.items import Item, Scores, TextItem
from einfluence.errors import InputError
from einfluence.keys import content_hash
from einfluence.models.base import Base
from einfluence.spec import Recipe

# Relative to the largest influence. Wide enough for rounding that Adam has amplified; a layer that is not
# understood is off by tens of percent.
TOLERANCE = {"float32": 1e-2, "float64": 1e-6}

_passed: set[str] = set()


def refuse(base: Base) -> None:
    """Refuses bases whose gradients or weights are not what they seem.

    Raises:
        InputError: For quantised weights.
    """
    model: Any = base.model
    config = getattr(model, "config", None)
    if getattr(model, "is_quantized", False) or getattr(config, "quantization_config", None) is not None:
        fix = "take the model's unquantised weights"
        raise InputError(f"base {base.info.label}", "quantised weights", "float32, float16 or bfloat16 weights", fix)


def serial_because(base: Base, recipe: Recipe, probes: Sequence[Sequence[Item]], queries: Sequence[Item]) -> str:
    """Why only the serial definition is right for this; empty where the fast engines are."""
    if base.info.modality == "image":
        return ""
    config: Any = cast("Any", base.model).config.get_text_config()
    if _experts(config):
        return "a mixture of experts"
    if type(base.model).__module__.startswith("transformers_modules"):
        return "a model that brings its own code"
    items = cast("Sequence[TextItem]", list(itertools.chain(queries, *probes)))
    longest = max((len(item.ids) for item in items), default=0)
    switch = _switch(config)
    if switch is not None and longest > switch:
        return f"texts of more than {switch} tokens, where this model's position encoding changes with the length"
    return ""


def self_check(
    engine: Any, base: Base, recipe: Recipe, probes: Sequence[Sequence[Item]], queries: Sequence[Item], seed: int
) -> None:
    """Holds one probe and a few queries against the serial definition, once a process for each base and recipe.

    Args:
        engine: Called with a recipe, makes the engine that is to be believed.
        base: The base.
        recipe: Checked with at most three steps.
        probes: The shortest is taken.
        queries: The shortest, the longest and one between are taken.
        seed: Of the adapter.

    Raises:
        InputError: When they differ by more than rounding, in float64 too.
    """
    key = content_hash((base.info.base_id, recipe.model_dump()))
    if key in _passed or not probes or not queries:
        return
    probe = [min(probes, key=_size)]
    ordered = sorted(queries, key=lambda query: _size([query]))
    few = list({id(query): query for query in (ordered[0], ordered[len(ordered) // 2], ordered[-1])}.values())
    short = recipe.model_copy(update={"steps": min(recipe.steps, 3)})
    for dtype in ("float32", "float64"):
        again = short.model_copy(update={"dtype": dtype})
        truth = _influence(serial.measure(base, again, probe, few, seed))
        found = _influence(engine(again).measure(probe, few, {}))
        if truth is None or found is None:
            break
        allowed = TOLERANCE[dtype] * np.abs(truth).max() + (1e-4 if dtype == "float32" else 1e-6)
        if np.abs(truth - found).max() <= allowed:
            break
        if dtype == "float64":
            kinds = sorted({type(module).__name__ for module in base.model.modules() if not list(module.children())})
            found_text = f"influence that the fast engine gets wrong by {np.abs(truth - found).max():.2g} nats"
            expected = f"layers that it knows; this model has {', '.join(kinds)}"
            raise InputError(f"base {base.info.label}", found_text, expected, "take `engine: serial`")
    _passed.add(key)


def check_reader(read: Callable[[Sequence[TextItem]], Scores], base: Base, recipe: Recipe, items: Any) -> None:
    """Holds the shortest and the longest of some texts against the serial definition.

    Raises:
        InputError: When they differ by more than rounding.
    """
    ordered = sorted(items, key=lambda item: len(item.ids))
    few = list({id(item): item for item in ordered[:1] + ordered[-1:]}.values())
    truth, found = serial.evaluate(base, recipe, few), read(few)
    allowed = {"float64": 1e-5, "float32": 1e-3}.get(recipe.dtype, 0.5)
    if few and np.abs(truth.logprob - found.logprob).max() > allowed * (1 + np.abs(truth.logprob).max() / 10):
        wrong = f"log-probabilities that are off by {np.abs(truth.logprob - found.logprob).max():.2g} nats"
        raise InputError(f"base {base.info.label}", wrong, "a model that the fast engine understands")


def _influence(measured: Any) -> np.ndarray | None:
    before, rows = measured
    after: list[Scores | None] = [scores for _, _, scores in rows]
    return None if after[0] is None else after[0].logprob - before.logprob


def _size(probe: Sequence[Item]) -> int:
    return sum(len(item.ids) if isinstance(item, TextItem) else 1 for item in probe)


def _experts(config: Any) -> bool:
    names = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "num_moe_experts")
    return any((getattr(config, name, None) or 0) > 1 for name in names)


def _switch(config: Any) -> int | None:
    """The length beyond which the position encoding depends on the longest text in the batch."""
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = [rope, *(part for part in rope.values() if isinstance(part, dict))]
    if not any(kind.get("rope_type") in ("dynamic", "longrope") for kind in kinds):
        return None
    given = [kind.get("original_max_position_embeddings") for kind in kinds]
    return next((int(n) for n in given if n), getattr(config, "max_position_embeddings", None))
