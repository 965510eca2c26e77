"""A trained model for others: an adapter that peft loads, or whole weights."""

from __future__ import annotations

from pathlib import Path

from einfluence.errors import InputError
from einfluence.estimators.training import trained, with_steps
from einfluence.inputs import full_training
from einfluence.saved import save_adapter, save_trained
from einfluence.session import Session
from einfluence.spec import Part, Spec, TrainedBase
from einfluence.store.store import Store


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
    if out.exists():
        raise InputError("--out", f"{str(out)!r}, which is there already", "a folder that is not")
    chosen = _part(spec, part)
    try:
        training = full_training(spec, chosen, TrainedBase(training=chosen.name, arm=arm, seed=seed), session)
    except ValueError as error:
        raise InputError(f"parts.{chosen.name}", "a choice that does not fit it", str(error)) from error
    base = session.base(training.base, chosen.trust_remote_code)
    kept = None if store is None else store.kept_deltas(training.key, [training.training_id]).get(training.training_id)
    samples, recipe = list(training.samples.values()), training.recipe
    whole = with_steps(recipe, training.schedule, len(samples), len(training.later))
    with session.computing(base):
        try:
            delta = trained(base, recipe, training.seed, samples, training.schedule, later=training.later, kept=kept)
        except RuntimeError as error:
            raise InputError(f"parts.{chosen.name}", str(error), "a training that ends with finite weights") from error
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
