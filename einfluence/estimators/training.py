"""One block of trainings of a set: copies that go through the same batches, each with some samples left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from einfluence import engine
from einfluence.estimators.finetune import kept_trainings
from einfluence.estimators.measure import Measured, measured
from einfluence.models.base import Base
from einfluence.objectives import encode_all
from einfluence.recipe import Recipe, Tuning
from einfluence.samples import Sample
from einfluence.training_set import Schedule, Variant


def training_block(
    base: Base,
    recipe: Tuning,
    seed: int,
    samples: Sequence[Sample],
    schedule: Schedule,
    variants: Mapping[str, Variant],
    queries: Sequence[Sample],
    *,
    kept: Callable[[str], Path | None] = lambda _: None,
    on_probe: Callable[[], None] = lambda: None,
) -> Measured:
    """Takes V trainings of a set and scores Q queries before and after each.

    Args:
        base: The loaded base; it is left bit-identical.
        recipe: What is trained, and with which optimizer.
        seed: Of the start values and the order.
        samples: The set.
        schedule: How it is gone through.
        variants: What each training leaves out, by training_id.
        queries: The queries.
        kept: The safetensors file of an earlier training of a training_id, or None.
        on_probe: Called after each training, for progress.

    Raises:
        InputError: When a sample does not fit the base.
    """
    trainings = trainings_of(base, samples, schedule, seed, variants.values())
    asked = list(encode_all(base, queries))
    recipe = with_steps(recipe, schedule, len(samples))
    found = engine.measure(base, recipe, trainings, asked, seed, kept=kept_trainings(map(kept, variants)))
    return measured(base, list(variants), queries, found, on_probe)


def trainings_of(
    base: Base, samples: Sequence[Sample], schedule: Schedule, seed: int, variants: Iterable[Variant]
) -> list[engine.Training[engine.Item]]:
    """What copies of a base are trained on, in the same batches, each without the samples that a variant leaves out."""
    whole = whole_training(list(encode_all(base, samples)), schedule, seed)
    return [whole.weighted(dict.fromkeys(each.left_out, 0.0)) if each.left_out else whole for each in variants]


def with_steps(recipe: Tuning, schedule: Schedule, n: int) -> Recipe:
    """The recipe as engines take it, with the number of steps of a schedule."""
    steps = schedule.epochs * -(-n // schedule.batch_size)
    return Recipe(**dict(recipe.only(Tuning)), steps=steps)


def whole_training(items: Sequence[engine.Item], schedule: Schedule, seed: int) -> engine.Training[engine.Item]:
    """The training on all of a set's items: one stage, whose optimizer forgets nothing between epochs."""
    batches = schedule.batches(len(items), seed)
    rates = schedule.rates(len(batches))
    steps = (engine.Step(batch, rate=rate) for batch, rate in zip(batches, rates, strict=True))
    return engine.Training(tuple(items), (tuple(steps),))
