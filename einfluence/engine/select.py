"""Which engine measures: the first of a list that is made for the case and gives what the definition gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from einfluence.engine import definition
from einfluence.engine.contract import Engine, EngineBuilder, Unsupported
from einfluence.engine.generic import GenericEngine
from einfluence.engine.image.engine import ImageEngine
from einfluence.engine.schedule import TrainingKind
from einfluence.engine.text.lora import LoraEngine
from einfluence.engine.text.low_rank_sgd import LowRankSgdEngine
from einfluence.engine.text.one_by_one import OneByOneEngine
from einfluence.errors import InputError, first_line
from einfluence.models.base import Base
from einfluence.spec import Recipe

DEFINITION = "definition"


@dataclass(frozen=True)
class Case:
    """What engines are chosen by.

    Args:
        base: The base.
        recipe: How it is trained.
        kind: How the trainings go through their samples.
    """

    base: Base
    recipe: Recipe
    kind: TrainingKind

    @property
    def lora(self) -> bool:
        """Whether adapters are trained."""
        return self.recipe.adapter.kind == "lora"

    @property
    def sgd(self) -> bool:
        """Whether a step is linear in the gradient."""
        return self.recipe.optimizer.kind == "sgd"

    @property
    def images(self) -> bool:
        """Whether samples are pixels."""
        return "pixels" in self.base.objective.can

    @property
    def text(self) -> bool:
        """Whether samples are texts for a model that reads them as transformers' own do."""
        return "causal text" in self.base.objective.can and not peculiar(self.base)


@dataclass(frozen=True)
class Candidate:
    """An engine and what it is made for.

    Args:
        name: What ``outcomes.engine`` and ``einfluence plan`` call it.
        build: Builds it.
        takes: Whether it is made for a case.
        why: What the plan says for it.
        checkpoints: Whether it checkpoints gradients.
    """

    name: str
    build: EngineBuilder
    takes: Callable[[Case], bool]
    why: str
    checkpoints: bool = False


CANDIDATES = (
    # Made by hand for one kind of model and training each, and therefore the fastest.
    Candidate(
        "batched lora",
        LoraEngine,
        lambda case: case.text and case.lora,
        "its targets are Linear or Conv1D, so many probes' adapters train in one batch",
        checkpoints=True,
    ),
    Candidate(
        "low-rank sgd",
        LowRankSgdEngine,
        lambda case: case.text and not case.lora and case.sgd and case.kind == "joint",
        "SGD's change of a matrix is low-rank, so no weights are copied",
    ),
    Candidate(
        "one by one",
        OneByOneEngine,
        lambda case: case.text and not case.lora,
        "this optimizer or layer has no exact batched form on texts; queries are read in blocks",
        checkpoints=True,
    ),
    Candidate("images", ImageEngine, lambda case: case.images, "every trained layer has a batched form"),
    # Made for no kind: what those above refuse.
    Candidate(
        "generic", GenericEngine, lambda _: True, "the model's own code runs once for many trainings (torch.func)"
    ),
)
"""In the order in which they are tried; after the last comes the definition."""

LAST = Candidate(
    DEFINITION,
    definition.Definition,
    lambda _: True,
    "only the definition trains these probes as they are meant",
    checkpoints=True,
)


@dataclass(frozen=True)
class Choice:
    """An engine, and why no faster one.

    Args:
        engine: It.
        candidate: Which of the candidates it is.
        why: Why a faster engine was passed over; empty where this is the fastest that there is for the recipe.
        expected: Whether all that was passed over declared itself that it is not for this model.
    """

    engine: Engine
    candidate: Candidate
    why: str = ""
    expected: bool = True

    @property
    def name(self) -> str:
        """The reason as reported to the user."""
        return self.candidate.name

    @property
    def is_definition(self) -> bool:
        """Whether it is the definition."""
        return self.candidate is LAST

    @classmethod
    def definition(cls, base: Base, recipe: Recipe, seed: int, why: str = "", *, expected: bool = True) -> Choice:
        """The definition."""
        return cls(definition.Definition(base, recipe, seed), LAST, why, expected)


def choose(
    base: Base,
    recipe: Recipe,
    seed: int,
    kind: TrainingKind = "joint",
    disagreement: Callable[[EngineBuilder], str] = lambda _: "",
) -> Choice:
    """The first engine that is made for a base and a recipe, can be built, and agrees with the definition.

    Args:
        base: The base.
        recipe: How it is trained.
        seed: Of the adapters.
        kind: How the trainings go through their samples.
        disagreement: In what an engine differs from the definition; empty where it does not.

    Raises:
        InputError: When the definition, too, refuses the recipe.
    """
    why = [reason] if (reason := peculiar(base)) else list[str]()
    expected, case = True, Case(base, recipe, kind)
    for candidate in CANDIDATES:
        if not candidate.takes(case):
            continue
        if base.info.gradient_checkpointing and not candidate.checkpoints:
            why.append(f"{candidate.name}: it cannot checkpoint gradients")
            continue
        try:
            reason = disagreement(candidate.build)
            expected = expected and not reason
            if not reason:
                engine = _built(candidate.build, base, recipe, seed)
                return Choice(engine, candidate, "; ".join(why), expected)
        except Unsupported as error:
            reason = f"{error.found} where it knows {error.expected}"
        except InputError:
            raise
        except Exception as error:  # whatever an engine stumbles over, the next one may be able to do
            reason, expected = first_line(error), False
        why.append(f"{candidate.name}: {reason}")
    return Choice.definition(base, recipe, seed, "; ".join(why), expected=expected)


def _built(build: EngineBuilder, base: Base, recipe: Recipe, seed: int) -> Engine:
    try:
        return build(base, recipe, seed)
    except Unsupported:
        raise
    except InputError as error:
        definition.trainable_copy(base, recipe, seed)  # raises where the recipe itself is at fault
        raise Unsupported(error.where, error.found, error.expected) from error


def peculiar(base: Base) -> str:
    """Why the engines made for transformers' causal models are not made for this one; empty where they are."""
    model: Any = base.model
    if "causal text" not in base.objective.can:
        return ""
    if _experts(model.config.get_text_config()):
        return "a mixture of experts"
    return "a model that brings its own code" if type(model).__module__.startswith("transformers_modules") else ""


def _experts(config: Any) -> bool:
    names = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "num_moe_experts")
    return any((getattr(config, name, None) or 0) > 1 for name in names)


def fastest(base: Base, recipe: Recipe, seed: int, kind: TrainingKind = "joint") -> Engine:
    """The first engine that can be built, whether or not it is right."""
    return choose(base, recipe, seed, kind).engine
