"""Which engine is the fastest that is exact."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from einfluence.engine import serial
from einfluence.engine.full import FullEngine
from einfluence.engine.images import ImageEngine
from einfluence.engine.swapped import SwappedEngine
from einfluence.engine.text import BatchedText, TextEngine
from einfluence.engine.unknown import Unknown
from einfluence.errors import InputError, first_line
from einfluence.models.base import Base
from einfluence.spec import Recipe

Engine = ImageEngine | BatchedText
Kind = Callable[[Base, Recipe, int], Engine]

DEFINITION = "definition"
NAMES: Mapping[Kind, str] = {
    TextEngine: "batched lora",
    FullEngine: "low-rank sgd",
    SwappedEngine: "one by one",
    ImageEngine: "images",
}
"""What ``outcomes.engine`` and ``einfluence plan`` call each engine."""


@dataclass(frozen=True)
class Choice:
    """An engine, and why no faster one.

    Args:
        engine: It; None for the definition.
        name: What the user is told.
        why: Why a faster engine was passed over; empty where this is the fastest that there is for the recipe.
        expected: Whether all that was passed over said itself that it is not for this model.
    """

    engine: Engine | None
    name: str
    why: str = ""
    expected: bool = True

    def reads(self, delta: Mapping[str, Tensor]) -> bool:
        """Whether the ``delta`` of an earlier training is in this engine's own form."""
        factored = any(":" in name for name in delta)
        return factored == (isinstance(self.engine, FullEngine) and bool(self.engine.factors.matrices))


def choose(
    base: Base,
    recipe: Recipe,
    seed: int,
    in_turn: bool = False,
    doubt: Callable[[Kind], str] = lambda _: "",
) -> Choice:
    """The fastest engine that can be built for a base and a recipe, and that is not in doubt.

    Args:
        base: The base.
        recipe: How probes are trained.
        seed: Of the adapters.
        in_turn: Whether the probes' samples are trained one after the other.
        doubt: Says why an engine is not to be believed; empty where it is.

    Raises:
        InputError: When the definition, too, refuses the recipe.
    """
    why: list[str] = []
    expected = True
    for kind in candidates(base, recipe, in_turn):
        try:
            reason = doubt(kind)
            expected = expected and not reason
            if not reason:
                return Choice(_built(kind, base, recipe, seed), NAMES[kind], "; ".join(why), expected)
        except Unknown as error:
            reason = f"{error.found} where it knows {error.expected}"
        except InputError:
            raise
        except Exception as error:  # whatever an engine stumbles over, the definition may be able to do
            reason, expected = first_line(error), False
        why.append(f"{NAMES[kind]}: {reason}")
    return Choice(None, DEFINITION, "; ".join(why), expected)


def _built(kind: Kind, base: Base, recipe: Recipe, seed: int) -> Engine:
    try:
        return kind(base, recipe, seed)
    except Unknown:
        raise
    except InputError as error:
        serial.trainable_copy(base, recipe, seed)  # raises where the recipe itself is at fault
        raise Unknown(error.where, error.found, error.expected) from error


def candidates(base: Base, recipe: Recipe, in_turn: bool) -> list[Kind]:
    """The engines for a base and a recipe, the fastest first. Only LoRA on texts has a batched form for sequences."""
    if "pixels" in base.objective.can:
        return [] if in_turn else [ImageEngine]
    if "causal text" not in base.objective.can:
        return []
    if recipe.adapter.kind == "lora":
        return [TextEngine]
    return [FullEngine, SwappedEngine] if recipe.optimizer.kind == "sgd" and not in_turn else [SwappedEngine]


def fastest(base: Base, recipe: Recipe, seed: int, in_turn: bool = False) -> Engine | None:
    """The fastest engine that can be built, whether or not it is right; None where only the definition can."""
    return choose(base, recipe, seed, in_turn).engine
