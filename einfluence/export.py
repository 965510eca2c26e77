"""A trained model for others: an adapter that peft loads, or whole weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from einfluence.actions.influence_step import influence_step
from einfluence.actions.unlearn import check_methods, forget_set, step_cost, step_id
from einfluence.errors import InputError
from einfluence.estimators.training import trained, with_steps
from einfluence.estimators.within import TrainedSet
from einfluence.inputs import FullTraining, ended, full_training
from einfluence.models.base import Base
from einfluence.saved import save_adapter, save_trained
from einfluence.session import Session
from einfluence.spec import Part, Spec, TrainedBase
from einfluence.store.store import ArmKey, Store
from einfluence.training_set import FULL, Variant
from einfluence.unlearning import InfluenceStep, Method, rest_of, steps_of


@dataclass(frozen=True)
class Unlearned:
    """What was unlearned and written.

    Args:
        written: In words.
        key: The arm of its training.
        training: Its id.
        reference: That of the retraining without the forget set.
        forgotten: Samples of the forget set.
        read: Samples that the unlearning went through.
    """

    written: str
    key: ArmKey
    training: str
    reference: str
    forgotten: int
    read: int


def export(
    spec: Spec,
    out: Path,
    session: Session,
    store: Store | None = None,
    *,
    part: str | None = None,
    arm: int | None = None,
    seed: int | None = None,
    merged: bool = False,
) -> str:
    """Writes what the training of a part's whole set makes of its base.

    Args:
        spec: The spec.
        out: A folder, which is made.
        session: Of this process.
        store: Where the training may have been kept; otherwise it is done again.
        part: Which part; None where only one has a training set.
        arm: As :attr:`einfluence.trained_base.TrainedBase.arm`.
        seed: As :attr:`einfluence.trained_base.TrainedBase.seed`.
        merged: Whether LoRA's adapters are merged into whole weights.

    Returns:
        What was written, in words.

    Raises:
        InputError: When there is something at ``out``, or no such training, or it fails.
    """
    training, base = _training(spec, out, part, arm, seed, session)
    with session.computing(base):
        return _written(training, base, _left_behind(training, base, FULL, store), out, merged)


def unlearn(
    spec: Spec,
    forget: Path,
    method: Method,
    out: Path,
    session: Session,
    store: Store | None = None,
    *,
    part: str | None = None,
    arm: int | None = None,
    seed: int | None = None,
    merged: bool = False,
) -> Unlearned:
    """Writes what unlearning some samples makes of the model that was trained on a part's whole set.

    Args:
        spec: The spec.
        forget: A text file of sample ids, one a line.
        method: How.
        out: As for :func:`export`, and all that follows.
        session: Of this process.
        store: Where it may have been kept.
        part: Which part.
        arm: Which way of training.
        seed: Which seed.
        merged: Whether LoRA's adapters are merged into whole weights.

    Raises:
        InputError: As :func:`export` and :func:`einfluence.actions.unlearn.forget_set` do.
    """
    training, base = _training(spec, out, part, arm, seed, session)
    check_methods([method], training.where, training.schedule)
    places = forget_set(forget, [sample.name for sample in training.samples.values()])
    rest = rest_of(places, len(training.samples))
    with session.computing(base):
        if isinstance(method, InfluenceStep):
            variant, delta, read = _stepped(training, base, method, places, len(rest), store)
        else:
            steps = steps_of(method, places, rest, training.schedule.batch_size, training.seed, 0)
            variant, read = Variant("unlearned", more=steps), sum(len(step.batch) for step in steps)
            delta = _left_behind(training, base, variant, store)
        written = _written(training, base, delta, out, merged)
    reference = Variant("removed", left_out=places)
    training_id, reference_id = (each.training_id(training.set_id) for each in (variant, reference))
    return Unlearned(written, training.key, training_id, reference_id, len(places), read)


def _training(
    spec: Spec, out: Path, part: str | None, arm: int | None, seed: int | None, session: Session
) -> tuple[FullTraining, Base]:
    """The training of a part's whole set, and its base."""
    if out.exists():
        raise InputError("--out", f"{str(out)!r}, which is there already", "a folder that is not")
    chosen = _part(spec, part)
    try:
        training = full_training(spec, chosen, TrainedBase(training=chosen.name, arm=arm, seed=seed), session)
    except ValueError as error:
        raise InputError(f"parts.{chosen.name}", "a choice that does not fit it", str(error)) from error
    return training, session.base(training.base, chosen.trust_remote_code)


def _left_behind(training: FullTraining, base: Base, variant: Variant, store: Store | None) -> dict[str, Tensor]:
    """The parameters that a training of the set, as a variant has it, leaves behind."""
    name = variant.training_id(training.set_id)
    kept = None if store is None else store.kept_deltas(training.key, [name]).get(name)
    own, later, recipe = list(training.samples.values()), training.later, training.recipe
    with ended(training.where):
        return trained(base, recipe, training.seed, own, training.schedule, variant, later=later, kept=kept)


def _stepped(
    training: FullTraining, base: Base, method: InfluenceStep, places: tuple[int, ...], rest: int, store: Store | None
) -> tuple[Variant, dict[str, Tensor], int]:
    """The variant that an influence step is, its parameters, and the samples that it went through."""
    state = step_id(method, [places], training.key, training.set_id)
    there = None if store is None else store.state(state)
    if store is not None and there is not None:
        parameters, products = load_file(there), store.state_about(state)["products"]
    else:
        within = TrainedSet(list(training.samples.values()), training.schedule)
        try:
            parameters, products, _ = influence_step(base, training.recipe, training.seed, within, [places], method)
        except (ArithmeticError, RuntimeError) as error:
            raise InputError(training.where, str(error), "a step that ends with finite weights") from error
    return Variant("unlearned", computed=state), parameters, step_cost(len(places), rest, 1, products)


def _written(training: FullTraining, base: Base, delta: Mapping[str, Tensor], out: Path, merged: bool) -> str:
    """Writes the base with such parameters; in words what was written."""
    recipe = training.recipe
    whole = with_steps(recipe, training.schedule, len(training.samples), len(training.later))
    if recipe.adapter.kind == "lora" and not merged:
        save_adapter(base, whole, delta, out)
        return f"an adapter of {base.info.label}, for peft"
    save_trained(base, whole, delta, out)
    return f"{base.info.label} with trained weights, for transformers"


def _part(spec: Spec, name: str | None) -> Part:
    known = {part.name: part for part in spec.parts if part.training_set is not None}
    if name is None and len(known) == 1:
        return next(iter(known.values()))
    if name not in known:
        found = "no --part" if name is None else f"--part {name}"
        expected = f"one with a `training_set` ({', '.join(known) or 'none here'})"
        raise InputError("--part", found, expected)
    return known[name]
