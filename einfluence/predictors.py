"""Estimates as arms of a spec: which interventions each predicts, and which parameters it looks at."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Annotated, Any, Literal, cast

from pydantic import Field, field_validator, model_validator

from einfluence.arms import Arm, Estimator, FineTune, LeaveOneOut, OfASet, Subsets, register
from einfluence.errors import InputError
from einfluence.keys import content_hash
from einfluence.recipe import Adapter, Count, Float, Keyed, Tuning, named, of_kind

# Arms are frozen, so that a subclass may narrow what it inherits.
# pyright: reportIncompatibleVariableOverride=false

ALONE, IN_A_SET = ("finetune",), ("leave_one_out", "subsets")

Intervention = Annotated[FineTune | LeaveOneOut | Subsets, Field(discriminator="estimator")]


class Estimating(Keyed):
    """How an estimate is computed; what it predicts has a recipe of its own."""

    adapter: Adapter | None = Field(
        default=None,
        discriminator="kind",
        description="the parameters whose gradients count; null takes those that the intervention trains",
    )
    dtype: Literal["float32", "float64"] = Field(default="float32", description="of gradients and products")

    @model_validator(mode="before")
    @classmethod
    def _whole_form(cls, values: object) -> object:
        given = cast("dict[Any, Any]", values) if isinstance(values, dict) else {}
        kind = given.get("adapter")
        return values if kind is None else {**given, "adapter": of_kind(kind, "lora")}

    @property
    def key(self) -> dict[str, Any]:
        """What of it can change a number."""
        adapter = {} if self.adapter is None else {"adapter": self.adapter.key}
        return {**super().key, **adapter}

    @property
    def label(self) -> str:
        """A short name for people; empty where it is as its intervention has it."""
        adapter = [] if self.adapter is None else [f"by {self.adapter.label}"]
        return ", ".join([*adapter, *named(self, [name for name in type(self).model_fields if name != "adapter"])])

    @property
    def draws(self) -> bool:
        """Whether a seed changes anything."""
        return self.adapter is not None and self.adapter.kind == "lora"


class Estimate(Arm):
    """Influence without the training: a prediction of what an intervention would find.

    A spec names the intervention, writes it out, or leaves it open; :func:`resolved` makes an arm of each that it may
    be, whose ``stands_for`` is the whole intervention.
    """

    recipe: Estimating = Estimating()
    stands_for: str | Intervention | None = Field(
        default=None,
        description="what it predicts: the name of an intervention of this part, or one written out as an arm; "
        "null takes every intervention of the part that it can predict",
    )

    @property
    def of(self) -> Arm:
        """The intervention that it predicts.

        Raises:
            ValueError: Before it is resolved.
        """
        if not isinstance(self.stands_for, Arm):
            raise ValueError(f"`{self.estimator}` before it is known what it stands for")
        return self.stands_for

    @property
    def intervention(self) -> Arm:
        """What it predicts."""
        return self.of

    @property
    def recipe_id(self) -> str:
        """Content hash of the estimator, of what in the recipe can change a number, and of the intervention."""
        of = self.stands_for.recipe_id if isinstance(self.stands_for, Arm) else self.stands_for
        return content_hash((self.estimator, self.recipe.key, "of", of))

    @property
    def numbers(self) -> Any:
        """What its numbers follow from: within a set often the training alone, whatever compares such trainings."""
        if not (self.in_a_set and self.made_by.by_training):
            return self.recipe_id
        return (self.estimator, self.recipe.key, OfASet.of(self).recipe_id)

    @property
    def label(self) -> str:
        """A short name for people."""
        of = f"for {self.of.estimator}: {self.of.label}"
        return f"{self.recipe.label}, {of}" if self.recipe.label else of

    @property
    def written(self) -> dict[str, Any]:
        """The recipe, and the intervention beside it."""
        return {**self.recipe.written, "stands_for": {"estimator": self.of.estimator, "recipe": self.of.written}}

    @property
    def in_a_set(self) -> bool:
        """Whether its cells depend on the part's training set."""
        return self.of.in_a_set

    @property
    def draws(self) -> bool:
        """Whether a seed changes anything, of itself or of what it predicts: so both have cells of the same seeds."""
        return self.recipe.draws or self.of.draws

    def predicted(self, known: str) -> str | None:
        """The recipe_id of the intervention's cells."""
        return self.of.recipe_for(known if self.in_a_set else "")

    def each(self, interventions: Sequence[Arm]) -> list[Estimate]:
        """The same, standing for each of some interventions that it can predict and may.

        Raises:
            ValueError: When there is none.
        """
        can, meant = self.made_by.predicts, self.stands_for
        name = meant.estimator if isinstance(meant, Arm) else meant
        listed = " or ".join(f"`{each}`" for each in can)
        if name is not None and name not in can:
            raise ValueError(f"{listed} as what `{self.estimator}` stands for (not `{name}`)")
        if isinstance(meant, Arm):
            return [self]
        found = [arm for arm in interventions if arm.estimator in can and meant in (None, arm.estimator)]
        if not found:
            wanted = f"`{meant}`" if meant else listed
            raise ValueError(
                f"an arm {wanted} beside `{self.estimator}`, which predicts it, or one written out: "
                f"`stands_for: {{estimator: {meant or can[0]}, recipe: {{...}}}}`"
            )
        return [self.model_copy(update={"stands_for": arm}) for arm in found]


def resolved(arms: Iterable[Arm]) -> tuple[Arm, ...]:
    """The arms of a part, each estimate once for every intervention that it stands for.

    Raises:
        ValueError: For an estimate without an intervention to predict.
    """
    arms = list(arms)
    interventions = [arm for arm in arms if not isinstance(arm, Estimate)]
    each = (arm.each(interventions) if isinstance(arm, Estimate) else [arm] for arm in arms)
    return tuple(arm for some in each for arm in some)


class GradDot(Estimate):
    """One step's worth: the dot product of a query's gradient and a probe's, times what the optimizer moves."""

    estimator: Literal["grad_dot"] = "grad_dot"


class Following(Estimating):
    """How an estimate is computed that follows the intervention's training, and so its parameters."""

    adapter: None = Field(default=None, description="null: it follows the parameters that the intervention trains")

    @field_validator("adapter", mode="before")
    @classmethod
    def _of_the_intervention(cls, value: object) -> None:
        if value is not None:
            raise ValueError("no `adapter`, since it follows the parameters that the intervention trains")


class Unrolled(Estimate):
    """The exact derivative of a query's log-prob after a training with respect to the weight of a probe's samples."""

    estimator: Literal["unrolled"] = "unrolled"
    recipe: Following = Following()


class ByFifths(Following):
    """Which steps of a training count."""

    fifth: Annotated[int, Field(ge=1, le=5)] | None = Field(
        default=None, description="only what a sample did in this fifth of the training's steps, 1 to 5; null is all"
    )

    @property
    def label(self) -> str:
        """A short name for people."""
        return ", ".join(named(self, ("fifth", "dtype")))


class DataValue(Estimate):
    """The same, with the empirical Fisher of each batch in the place of its second derivatives."""

    estimator: Literal["data_value"] = "data_value"
    recipe: ByFifths = ByFifths()


class InSegments(Following):
    """How a training is cut into segments of constant curvature."""

    segments: Count = Field(default=3, description="of the training, each of as many steps")
    states: Count = Field(default=2, description="at which curvature and gradients of a segment are averaged")

    @property
    def label(self) -> str:
        """A short name for people."""
        return ", ".join([f"{self.segments} segments", *named(self, ("states", "dtype"))])


class Source(Estimate):
    """The same, with curvature and gradients held constant within a few segments of the training."""

    estimator: Literal["source"] = "source"
    recipe: InSegments = InSegments()

    def check(self, where: str, can: Collection[str], two_stages: bool) -> None:
        """See :meth:`.Arm.check`."""
        if (clip := self.of.recipe.only(Tuning).clip) is not None:
            found = f"{clip:g} for `source`, which does not know clipped steps"
            raise InputError(f"{where} recipe.clip", found, "none", "take `data_value`")


class InHalves(Following):
    """How often a set is trained on with halves of an adapter's ranks."""

    trainings: Count = Field(default=4, description="of the set, each with other halves; their mean is taken")

    @property
    def label(self) -> str:
        """A short name for people."""
        return ", ".join([f"{self.trainings} trainings", *named(self, ("dtype",))])


class TurnOver(Estimate):
    """What the ranks of an adapter that a sample has moved say, against those that never saw it."""

    estimator: Literal["turn_over"] = "turn_over"
    recipe: InHalves = InHalves()

    def check(self, where: str, can: Collection[str], two_stages: bool) -> None:
        """See :meth:`.Arm.check`."""
        adapter = self.of.recipe.only(Tuning).adapter
        if adapter.kind != "lora" or adapter.r % 2:
            found = f"{adapter.label} for `turn_over`, which halves the ranks of adapters"
            raise InputError(f"{where} recipe.adapter", found, "LoRA of an even rank r, best 16 or more")


class TracIn(Estimate):
    """Dot products of gradients along the way of the training."""

    estimator: Literal["tracin"] = "tracin"
    recipe: Following = Following()


class Damped(Estimating):
    """How a curvature is inverted."""

    damping: Float = Field(default=0.1, gt=0, description="added to the curvature, as a share of its mean")


class Curved(Estimate):
    """An estimate by the inverse of a curvature."""

    recipe: Damped = Damped()

    def check(self, where: str, can: Collection[str], two_stages: bool) -> None:
        """See :meth:`.Arm.check`: how far a second stage goes along a gradient must be known."""
        training = self.of.recipe.only(Tuning)
        if two_stages and training.clip is not None:
            found = f"{training.clip:g} in a training of two stages, for `{self.estimator}`"
            raise InputError(f"{where} recipe.clip", found, "none, so that steps are known", "take `unrolled`")
        if two_stages and self.recipe.adapter is not None and training.optimizer.kind != "sgd":
            found = f"{self.recipe.adapter.label} behind a second stage of {training.optimizer.kind}"
            where, expected = f"{where} {self.estimator}", "the intervention's own parameters, whose steps are known"
            raise InputError(f"{where} recipe.adapter", found, expected, "leave it out, or train by sgd")

    @property
    def point(self) -> Any:
        """What in the arm can change the parameters, and which of them, that its gradients are taken at."""
        adapter = self.recipe.adapter or self.of.recipe.only(Tuning).adapter
        return (adapter.key, self.recipe.dtype, OfASet.of(self).recipe_id if self.in_a_set else None)


class Drawn(Damped):
    """How targets are drawn from the model."""

    redraw: bool = Field(
        default=False, description="draw targets anew for values in the basis of eigenvectors; false: one draw for both"
    )


class Ekfac(Curved):
    """By the Fisher matrix in the basis of its Kronecker factors; targets are drawn from the model."""

    estimator: Literal["ekfac"] = "ekfac"
    recipe: Drawn = Drawn()

    @property
    def fitted_by(self) -> Any:
        """Damping is added later."""
        return (self.point, "redraw") if self.recipe.redraw else self.point

    @property
    def draws(self) -> bool:
        """Targets are drawn."""
        return True


class Projected(Damped):
    """How gradients are made smaller."""

    projection: Count | None = Field(
        default=16, description="longest side of a matrix's gradient; longer ones are projected. null projects nothing"
    )


class Fisher(Curved):
    """By the empirical Fisher matrix of projected gradients."""

    estimator: Literal["fisher"] = "fisher"
    recipe: Projected = Projected()

    @property
    def fitted_by(self) -> Any:
        """What is inverted is projected and damped."""
        return (self.point, self.recipe.projection, self.recipe.damping)

    @property
    def draws(self) -> bool:
        """Projections are drawn."""
        return True


class DataInf(Curved):
    """By the mean of the inverses of single samples' Fisher matrices."""

    estimator: Literal["datainf"] = "datainf"


class Inverting(Damped):
    """Which curvature is inverted as a whole."""

    damping: Float = Field(
        default=0.1, gt=0, description="added to the curvature, as a share of the mean square of gradients' elements"
    )
    curvature: Literal["gauss_newton", "hessian"] = Field(
        default="gauss_newton", description="of the set's mean loss; second derivatives as they are may be negative"
    )


class Inverted(Curved):
    """By the inverse of the curvature of all parameters together."""

    recipe: Inverting = Inverting()


class Exact(Inverted):
    """By conjugate gradients, for each probe."""

    estimator: Literal["exact"] = "exact"


class OfEigenvectors(Inverting):
    """How many eigenvectors the inverse is made of."""

    eigenvectors: Count = Field(default=32, description="of the curvature, those of the largest values")


class Lanczos(Inverted):
    """By the largest eigenvectors of the curvature."""

    estimator: Literal["lanczos"] = "lanczos"
    recipe: OfEigenvectors = OfEigenvectors()


def _ships(arm: type[Estimate], version: str, **about: Any) -> None:
    """Registers an estimator that ships; within a set, each of them follows from the training alone."""
    name: str = arm.model_fields["estimator"].default
    register(Estimator(name, version, arm, f"einfluence.estimators.{name}", by_training=True, **about))


_ships(Unrolled, "1", predicts=ALONE + IN_A_SET, two_stages=True)
_ships(DataValue, "1", predicts=ALONE + IN_A_SET, two_stages=True)
_ships(Source, "1", predicts=ALONE + IN_A_SET, two_stages=True)
_ships(TurnOver, "1", predicts=IN_A_SET, two_stages=True)
_ships(GradDot, "1", predicts=ALONE + IN_A_SET, two_stages=True)
_ships(TracIn, "1", predicts=ALONE + IN_A_SET, two_stages=True)
_ships(Ekfac, "1", fits=True, predicts=ALONE + IN_A_SET, two_stages=True)
_ships(Fisher, "1", fits=True, predicts=ALONE + IN_A_SET, two_stages=True)
_ships(DataInf, "1", predicts=IN_A_SET)
_ships(Exact, "1", predicts=IN_A_SET, two_stages=True)
_ships(Lanczos, "1", fits=True, predicts=IN_A_SET)
