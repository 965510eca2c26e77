"""The registry of estimators, and the arms of a spec: an estimator with its recipe.

An estimator is a name, a version, the model of its arm, and a module that computes its numbers; what a spec may ask for
is what is registered. A package adds its own by the entry point group ``einfluence.estimators``, which every process
of a run reads, or by :func:`register` in this one.
"""

from __future__ import annotations

import importlib
import json
import operator
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter
from pydantic_core import core_schema

from einfluence.errors import InputError
from einfluence.installed import installed
from einfluence.keys import content_hash
from einfluence.recipe import Float, Int, Keyed, Model, Prompting, Recipe, Seed, Tuning, named

# Arms are frozen, so that a subclass may narrow what it inherits.
# pyright: reportIncompatibleVariableOverride=false


class Arm(Model):
    """One way of obtaining influence: an estimator and its recipe. Subclasses name the one, and type the other."""

    estimator: str
    recipe: Keyed

    @property
    def recipe_id(self) -> str:
        """Content hash of the estimator and of what in the recipe can change a number."""
        return content_hash((self.estimator, self.recipe.key))

    @property
    def made_by(self) -> Estimator:
        """The estimator."""
        return estimators()[self.estimator]

    @property
    def label(self) -> str:
        """A short name for people."""
        return self.recipe.label

    @property
    def written(self) -> dict[str, Any]:
        """The recipe as the table ``recipes`` has it."""
        return self.recipe.written

    @property
    def in_a_set(self) -> bool:
        """Whether its cells depend on the part's training set."""
        return self.made_by.within

    @property
    def intervention(self) -> Arm:
        """What its numbers are about: itself, or of an estimate what it predicts."""
        return self

    @property
    def draws(self) -> bool:
        """Whether a seed changes anything, the order of a training set left aside."""
        return self.recipe.draws

    @property
    def numbers(self) -> Any:
        """What its numbers follow from beside base, seed and data, as plain data: arms alike in it have the same."""
        return self.recipe_id

    def predicted(self, known: str) -> str | None:
        """Of an estimate the recipe_id of the cells that it predicts; None for an intervention.

        Args:
            known: As for :meth:`recipe_for`.
        """
        return None

    def recipe_for(self, known: str) -> str:
        """The recipe_id of its cells.

        Args:
            known: Id of what they know of beside their probe: of an estimator that is fitted, the curation that it is
                fitted to; of one that compares trainings of a set, that set. So numbers that come from other samples
                are never taken for the same. Empty where there is no such thing.
        """
        return content_hash((self.recipe_id, known)) if known else self.recipe_id

    def check(self, where: str, can: Collection[str], two_stages: bool) -> None:
        """Refuses what cannot be measured, before anything is computed. By default all can.

        Args:
            where: The arms of the part, for messages.
            can: What the base's objective can do (:attr:`einfluence.models.base.Objective.can`).
            two_stages: Whether the part's training set has a second stage.

        Raises:
            InputError: When it cannot.
        """

    @property
    def fitted_by(self) -> Any:
        """What in it can change a state that its estimator is fitted to, as plain data: by default all.

        Arms of one estimator that agree in it share states of the same base, seed and data.
        """
        return self.recipe_id

    def fit_for(self, known: str) -> str:
        """What names its states beside base and seed; ``known`` is as for :meth:`recipe_for`."""
        return content_hash((self.estimator, self.made_by.version, self.fitted_by, known))

    def row(self, known: str = "", about: str = "") -> dict[str, Any]:
        """What the table ``recipes`` says of it; ``about`` are the words for what is known."""
        return {
            "recipe": self.recipe_for(known),
            "estimator": self.estimator,
            "label": f"{self.label}, {about}" if about else self.label,
            "json": json.dumps(self.written, sort_keys=True),
            "stands_for": self.predicted(known),
        }


class FineTune(Arm):
    """The truth: a copy of the model is fine-tuned on the probe."""

    estimator: Literal["finetune"] = "finetune"
    recipe: Recipe = Recipe()
    restore: Int = Field(
        default=0,
        ge=0,
        description="of so many probes, undo one layer's change at a time and score again what they should have taught",
    )
    engine: Literal["auto", "serial"] = Field(
        default="auto",
        description="`serial` computes missing cells by the definition, one probe and one query at a time",
    )


class InContext(Arm):
    """The probe is put into the prompt instead, and nothing is trained."""

    estimator: Literal["in_context"] = "in_context"
    recipe: Prompting = Prompting()

    def check(self, where: str, can: Collection[str], two_stages: bool) -> None:
        """See :meth:`Arm.check`."""
        if "prompt" not in can:
            found = "`in_context` for a base whose objective has no prompt"
            raise InputError(where, found, "a causal language model", "leave it out")


class LeaveOneOut(Arm):
    """The training set is trained on with a probe's samples and without them."""

    estimator: Literal["leave_one_out"] = "leave_one_out"
    recipe: Tuning = Tuning()


class OnSubsets(Tuning):
    """How the subsets of a training set are drawn, and what is made of the trainings on them."""

    count: Int = Field(default=100, ge=2, description="trainings, each on a subset; more only add to fewer")
    share: Float = Field(default=0.5, gt=0, lt=1, description="of the set's samples or groups that a subset has")
    ridge: Float = Field(
        default=3.0, gt=0, description="penalty on the sum of squared coefficients, beside the sum of squared errors"
    )
    draw: Seed | None = Field(
        default=None, description="seed of the draws; null draws others for each seed of the part, a number the same"
    )

    @property
    def label(self) -> str:
        """A short name for people."""
        return ", ".join([super().label, f"{self.count} subsets of {self.share:.0%}", *named(self, ("ridge", "draw"))])


class Subsets(Arm):
    """The training set is trained on in random subsets, and what each probe's presence does is regressed on them."""

    estimator: Literal["subsets"] = "subsets"
    recipe: OnSubsets = OnSubsets()

    @property
    def draws(self) -> bool:
        """The subsets are drawn."""
        return True


class OfASet(Arm):
    """A training of a set itself, which the arms above compare. No spec has it: they ask for what they need."""

    estimator: Literal["training"] = "training"
    recipe: Tuning = Tuning()

    @classmethod
    def of(cls, arm: Arm) -> OfASet:
        """The trainings that an arm compares, or predicts: as that recipe trains, whatever is then made of it."""
        return cls(recipe=arm.intervention.recipe.only(Tuning))


@dataclass(frozen=True)
class Estimator:
    """How influence numbers are obtained.

    Args:
        name: As a spec and the tables name it.
        version: A new one makes every cell of the estimator new: raise it when its numbers change by more than
            rounding.
        arm: The model of its arm, whose ``estimator`` is the one literal ``name``.
        module: The name of the module that computes it, by the functions of
            :class:`einfluence.estimators.measure.Implementation`. It is imported when cells are computed.
        fits: Whether that module has a function ``fit``, whose tensors are kept in the store as a state.
        within: Whether it compares trainings of the part's training set. Its module then has, instead of ``block``, the
            functions of :class:`einfluence.estimators.within.Within`.
        predicts: Names of the interventions that it may stand for; its arm is a
            :class:`einfluence.predictors.Estimate`. Where one of them compares trainings of a set, the module's
            ``block`` (and ``fit``) takes a further argument ``within``.
        two_stages: Whether an estimate knows what a second stage of the training leaves of the first. Others are
            refused beside one.
        by_training: Whether an estimate within a set follows from how the set is trained on, whichever intervention it
            stands for. Arms that differ in that alone are computed once.
    """

    name: str
    version: str
    arm: type[Arm]
    module: str
    fits: bool = False
    within: bool = False
    predicts: tuple[str, ...] = ()
    two_stages: bool = False
    by_training: bool = False

    @property
    def implementation(self) -> Any:
        """The module that computes it."""
        return importlib.import_module(self.module)


GROUP = "einfluence.estimators"
_registered: dict[str, Estimator] = {}


def register(estimator: Estimator) -> Estimator:
    """Adds an estimator in this process.

    Raises:
        ValueError: When its name is taken by another, or its arm is one of another name.
    """
    named = estimator.arm.model_fields["estimator"].default
    if named != estimator.name:
        raise ValueError(f"an arm whose `estimator` is {estimator.name!r} by default, not {named!r}")
    if _registered.setdefault(estimator.name, estimator) != estimator:
        raise ValueError(f"a name of its own (another estimator is called {estimator.name!r})")
    _union.cache_clear()
    return estimator


def estimators() -> dict[str, Estimator]:
    """All estimators by name."""
    _installed()
    return dict(_registered)


def within(names: Iterable[str]) -> list[str]:
    """Those of some estimators that compare trainings of a set, each once; none that is not registered."""
    known = estimators()
    return [name for name in dict.fromkeys(names) if name in known and known[name].within]


@lru_cache(maxsize=1)
def _installed() -> None:
    importlib.import_module("einfluence.predictors")  # it registers what ships beside the interventions below
    for estimator in installed(GROUP):
        register(estimator)


@lru_cache(maxsize=1)
def _union() -> tuple[Any, TypeAdapter[Arm]]:
    _installed()
    arms: list[Any] = [each.arm for each in _registered.values()]
    union: Any = Annotated[reduce(operator.or_, arms), Field(discriminator="estimator")]
    return union, TypeAdapter(union)


class _Registered:
    """Stands for the union of all registered arms, as they are when a spec is read."""

    @staticmethod
    def branches() -> Any:
        """The union, for messages that name its keys."""
        return _union()[0]

    def __get_pydantic_core_schema__(self, _source: Any, _handler: Any) -> core_schema.CoreSchema:
        dumped = core_schema.plain_serializer_function_ser_schema(lambda arm: arm.model_dump(mode="json"))
        return core_schema.no_info_plain_validator_function(
            lambda value: _union()[1].validate_python(value), serialization=dumped
        )

    def __get_pydantic_json_schema__(self, _schema: Any, handler: Any) -> Any:
        return handler(_union()[1].core_schema)


AnyArm = Annotated[Arm, _Registered()]
"""The arm of any registered estimator."""

register(Estimator("finetune", "1", FineTune, "einfluence.estimators.finetune"))
register(Estimator("in_context", "1", InContext, "einfluence.estimators.in_context"))
register(Estimator("leave_one_out", "1", LeaveOneOut, "einfluence.estimators.leave_one_out", within=True))
register(Estimator("subsets", "1", Subsets, "einfluence.estimators.subsets", within=True))
